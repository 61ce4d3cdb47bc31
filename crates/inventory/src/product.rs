//! Products that need a licence and leave marks of their own.

use crate::Product;
use crate::readers::Found;
use roxmltree::{Document, ParsingOptions};

/// Most nodes of an XML document.
const NODES_MAX: u32 = 100_000;

/// Parses XML without its document type.
pub(crate) fn xml(text: &str) -> Option<Document<'_>> {
    let options = ParsingOptions { allow_dtd: false, nodes_limit: NODES_MAX, ..ParsingOptions::default() };
    Document::parse_with_options(text.trim_start_matches('\u{feff}'), options).ok()
}

/// Reads `ContentsXML/inventory.xml` of Oracle's central inventory (Oracle Universal Installer guide,
/// "Structure of the inventory.xml file"): every home that was not removed.
pub(crate) fn oracle(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let Some(document) = xml(&text) else { return Found::default() };
    let homes = document
        .descendants()
        .filter(|node| node.tag_name().name() == "HOME" && node.attribute("REMOVED") != Some("T"));
    let product = |home: roxmltree::Node<'_, '_>| {
        let name = home.attribute("NAME")?;
        let place = home.attribute("LOC").unwrap_or_default();
        let version = place
            .split('/')
            .find(|part| part.starts_with(|letter: char| letter.is_ascii_digit()) && part.len() < 16);
        let offset = home.range().start as u64;
        let product = Product::new(
            &format!("Oracle home {name}"),
            version.unwrap_or_default().to_owned(),
            "Oracle".to_owned(),
        );
        Some((offset, product))
    };
    Found::products(homes.filter_map(product).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_that_were_removed_do_not_count() {
        let text = br#"<INVENTORY><HOME_LIST><HOME NAME="Db19" LOC="/u01/app/oracle/product/19c/dbhome_1" TYPE="O" IDX="1"/><HOME NAME="Old" LOC="/x/11g" REMOVED="T"/></HOME_LIST></INVENTORY>"#;
        let found = oracle(b"", text).products;
        assert_eq!(
            (found.len(), found[0].1.name.as_str(), found[0].1.version.as_str()),
            (1, "Oracle home Db19", "19c")
        );
    }
}
