//! What is installed on Windows, by its registry.

use crate::Product;
use crate::readers::Found;
use crate::registry::{Hive, Key};

/// Where installers register what can be uninstalled, for programs of 64 and of 32 bits (Microsoft
/// Learn, "Uninstall Registry Key").
const UNINSTALL: [&str; 2] = [
    "Microsoft\\Windows\\CurrentVersion\\Uninstall",
    "Wow6432Node\\Microsoft\\Windows\\CurrentVersion\\Uninstall",
];

/// Reads the hive `SOFTWARE`.
pub(crate) fn software(_: &[u8], bytes: &[u8]) -> Found {
    let Some(root) = Hive::root(bytes) else { return Found::default() };
    let mut products: Vec<(u64, Product)> = windows(&root).into_iter().collect();
    products.extend(sql_servers(&root));
    for key in UNINSTALL.iter().filter_map(|path| root.at(path)).flat_map(|key| key.subkeys()) {
        // Updates of something else, and parts that are not shown, have no licence of their own.
        if key.text("ParentKeyName").is_some() || key.number("SystemComponent") == Some(1) {
            continue;
        }
        if let Some(name) = key.text("DisplayName") {
            let version = key.text("DisplayVersion").unwrap_or_default();
            let publisher = key.text("Publisher").unwrap_or_default();
            products.push((key.offset, Product::new(&name, version, publisher)));
        }
    }
    Found::products(products)
}

/// Returns the instances of SQL Server with their editions (Microsoft Learn, "File Locations for Default and Named
/// Instances of SQL Server").
fn sql_servers(root: &Key<'_>) -> Vec<(u64, Product)> {
    let Some(servers) = root.at("Microsoft\\Microsoft SQL Server") else { return Vec::new() };
    let Some(names) = servers.at("Instance Names\\SQL") else { return Vec::new() };
    let server = |name: String| {
        let setup = servers.at(&format!("{}\\Setup", names.text(&name)?))?;
        let edition = setup.text("Edition").unwrap_or_default();
        let version = setup.text("Version").or_else(|| setup.text("PatchLevel")).unwrap_or_default();
        let product = format!("Microsoft SQL Server {edition} ({name})");
        Some((setup.offset, Product::new(&product, version, "Microsoft Corporation".to_owned())))
    };
    names.values().into_iter().filter_map(server).collect()
}

/// Reads the hive `SYSTEM`: services of database servers, of which there may be no other record.
pub(crate) fn system(_: &[u8], bytes: &[u8]) -> Found {
    let Some(root) = Hive::root(bytes) else { return Found::default() };
    let current = root.at("Select").and_then(|select| select.number("Current")).unwrap_or(1);
    let services = root.at(&format!("ControlSet{current:03}\\Services"));
    let product = |key: Key<'_>| {
        let name = key.name()?;
        let upper = name.to_ascii_uppercase();
        let (product, publisher) = if upper == "MSSQLSERVER" || upper.starts_with("MSSQL$") {
            ("Microsoft SQL Server", "Microsoft Corporation")
        } else if upper.starts_with("ORACLESERVICE") {
            ("Oracle Database", "Oracle")
        } else {
            return None;
        };
        // What was left behind when its program was removed cannot be started.
        key.text("ImagePath").filter(|path| !path.is_empty())?;
        Some((
            key.offset,
            Product::new(&format!("{product} (service {name})"), String::new(), publisher.to_owned()),
        ))
    };
    Found::products(services.iter().flat_map(Key::subkeys).filter_map(product).collect())
}

/// Returns Windows itself.
fn windows(root: &Key<'_>) -> Option<(u64, Product)> {
    let key = root.at("Microsoft\\Windows NT\\CurrentVersion")?;
    let build = key.text("CurrentBuild").or_else(|| key.text("CurrentBuildNumber")).unwrap_or_default();
    let major = key.number("CurrentMajorVersionNumber").zip(key.number("CurrentMinorVersionNumber"));
    let major = match major {
        Some((major, minor)) => format!("{major}.{minor}"),
        // From its first build on, Windows 10 calls itself 6.3 in the older field.
        None if build.parse().is_ok_and(|build: u32| build >= 10_240) => "10.0".to_owned(),
        None => key.text("CurrentVersion")?,
    };
    let revision = key.number("UBR").map_or_else(String::new, |number| format!(".{number}"));
    let product = Product::new(
        &key.text("ProductName")?,
        format!("{major}.{build}{revision}"),
        "Microsoft Corporation".to_owned(),
    );
    Some((key.offset, product))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::tests::{Builder, Node, Value};

    fn node<'n>(name: &'n str, values: Vec<(&'n str, Value<'n>)>, keys: Vec<Node<'n>>) -> Node<'n> {
        Node { name, values, keys }
    }

    #[test]
    fn windows_and_what_can_be_uninstalled_are_products() {
        let program = |name, text| {
            node(
                name,
                vec![("DisplayName", Value::Text(text)), ("DisplayVersion", Value::Text("1.0"))],
                vec![],
            )
        };
        let update = node(
            "kb",
            vec![("DisplayName", Value::Text("Update")), ("ParentKeyName", Value::Text("X"))],
            vec![],
        );
        let hidden = node(
            "h",
            vec![("DisplayName", Value::Text("Part")), ("SystemComponent", Value::Number(1))],
            vec![],
        );
        let uninstall = || node("Uninstall", vec![], vec![program("{1}", "Acme")]);
        let nt = node(
            "CurrentVersion",
            vec![
                ("ProductName", Value::Text("Windows Server 2019 Standard")),
                ("CurrentBuild", Value::Text("17763")),
                ("CurrentMajorVersionNumber", Value::Number(10)),
                ("CurrentMinorVersionNumber", Value::Number(0)),
                ("UBR", Value::Number(4737)),
            ],
            vec![],
        );
        let current = node(
            "CurrentVersion",
            vec![],
            vec![node("Uninstall", vec![], vec![program("a", "Seven"), update, hidden])],
        );
        let wow = node(
            "Wow6432Node",
            vec![],
            vec![node(
                "Microsoft",
                vec![],
                vec![node("Windows", vec![], vec![node("CurrentVersion", vec![], vec![uninstall()])])],
            )],
        );
        let microsoft = node(
            "Microsoft",
            vec![],
            vec![node("Windows NT", vec![], vec![nt]), node("Windows", vec![], vec![current])],
        );
        let bytes = Builder::build(&node("ROOT", vec![], vec![microsoft, wow]));
        let found: Vec<_> =
            software(b"", &bytes).products.into_iter().map(|(_, one)| (one.name, one.version)).collect();
        let expected =
            [("Windows Server 2019 Standard", "10.0.17763.4737"), ("Seven", "1.0"), ("Acme", "1.0")];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(software(b"", b"regf").products.len(), 0);
    }

    #[test]
    fn servers_of_databases_are_products() {
        let instance = node("SQL", vec![("SHOP", Value::Text("MSSQL15.SHOP"))], vec![]);
        let setup = node(
            "Setup",
            vec![("Edition", Value::Text("Standard Edition")), ("Version", Value::Text("15.0.2000.5"))],
            vec![],
        );
        let server = node(
            "Microsoft SQL Server",
            vec![],
            vec![node("Instance Names", vec![], vec![instance]), node("MSSQL15.SHOP", vec![], vec![setup])],
        );
        let root = node("ROOT", vec![], vec![node("Microsoft", vec![], vec![server])]);
        let found = software(b"", &Builder::build(&root)).products;
        let named = found.iter().map(|(_, one)| (one.name.as_str(), one.version.as_str()));
        assert_eq!(
            named.collect::<Vec<_>>(),
            [("Microsoft SQL Server Standard Edition (SHOP)", "15.0.2000.5")]
        );
    }

    #[test]
    fn services_of_the_current_control_set_count() {
        let service = |name| node(name, vec![("ImagePath", Value::Text("C:\\x.exe"))], vec![]);
        let set = |name, services| node(name, vec![], vec![node("Services", vec![], services)]);
        let root = node(
            "ROOT",
            vec![],
            vec![
                node("Select", vec![("Current", Value::Number(2))], vec![]),
                set("ControlSet001", vec![service("MSSQLSERVER")]),
                set(
                    "ControlSet002",
                    vec![service("MSSQL$SHOP"), service("Dhcp"), node("MSSQLSERVER", vec![], vec![])],
                ),
            ],
        );
        let found = system(b"", &Builder::build(&root)).products;
        let names: Vec<_> = found.iter().map(|(_, one)| one.name.as_str()).collect();
        assert_eq!(names, ["Microsoft SQL Server (service MSSQL$SHOP)"]);
    }
}
