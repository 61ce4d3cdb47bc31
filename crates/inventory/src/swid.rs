//! Software identification tags (ISO/IEC 19770-2:2015).

use crate::readers::Found;
use crate::{Product, product};

/// Reads a tag.
pub(crate) fn tag(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let Some(document) = product::xml(&text) else { return Found::default() };
    let root = document.root_element();
    let attribute = |name| root.attribute(name).unwrap_or_default().to_owned();
    if root.tag_name().name() != "SoftwareIdentity" {
        return Found::default();
    }
    let creator = root.children().filter(|node| node.tag_name().name() == "Entity").find(|node| {
        node.attribute("role")
            .is_some_and(|role| role.split_ascii_whitespace().any(|one| one == "softwareCreator"))
    });
    let publisher = creator.and_then(|node| node.attribute("name")).unwrap_or_default().to_owned();
    let found = Product::new(&attribute("name"), attribute("version"), publisher);
    Found::products(vec![(0, found)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_names_its_product_and_who_made_it() {
        let text = br#"<?xml version="1.0"?><SoftwareIdentity xmlns="http://standards.iso.org/iso/19770/-2/2015/schema.xsd" name="Acme" tagId="a" version="1.2"><Entity name="Other" role="tagCreator"/><Entity name="Acme Inc" role="softwareCreator licensor"/></SoftwareIdentity>"#;
        let found = tag(b"", text).products;
        let one = &found[0].1;
        assert_eq!(
            (one.name.as_str(), one.version.as_str(), one.publisher.as_str()),
            ("Acme", "1.2", "Acme Inc")
        );
        assert_eq!(tag(b"", b"<x/>").products.len() + tag(b"", b"<").products.len(), 0);
    }
}
