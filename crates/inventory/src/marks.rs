//! Marks that products leave apart from packages.

use crate::Product;
use crate::readers::Found;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Longest name or version in a certificate.
const TEXT_BYTES_MAX: usize = 127;
/// Object identifiers of products of Red Hat, 1.3.6.1.4.1.2312.9.1 (X.690, 8.19), before the number of the product.
const PRODUCTS_OID: &[u8] = &[0x2b, 6, 1, 4, 1, 0x92, 8, 9, 1];

/// Reads the path of what the installer of VMware Tools leaves in `/etc/vmware-tools`; packages of `open-vm-tools`
/// leave neither.
pub(crate) fn vmware_tools(_: &[u8]) -> Found {
    Found::products(vec![(0, Product::new("VMware Tools", String::new(), "VMware, Inc.".to_owned()))])
}

/// Reads a certificate of a product in `/etc/pki/product` (candlepin, "Product certificates"): below its object
/// identifier, 1 is the name, 2 the version.
pub(crate) fn red_hat(_: &[u8], bytes: &[u8]) -> Found {
    let text = String::from_utf8_lossy(bytes);
    let body =
        text.split("-----BEGIN CERTIFICATE-----").nth(1).and_then(|rest| rest.split("-----END").next());
    let Some(der) =
        body.and_then(|body| STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok())
    else {
        return Found::default();
    };
    let mut products: Vec<(Vec<u8>, Product)> = Vec::new();
    for at in memchr::memmem::find_iter(&der, PRODUCTS_OID) {
        let Some((number, field, value)) = extension(&der, at) else { continue };
        let position = products.iter().position(|(known, _)| known == number).unwrap_or_else(|| {
            products.push((number.to_vec(), Product::new("", String::new(), "Red Hat".to_owned())));
            products.len() - 1
        });
        if let Some((_, product)) = products.get_mut(position) {
            match field {
                1 => product.name = value,
                2 => product.version = value,
                _ => {}
            }
        }
    }
    Found::products(products.into_iter().map(|(_, product)| (0, product)).collect())
}

/// Reads an extension whose object identifier has `PRODUCTS_OID` at `at`: the number of the product, the field of it,
/// and the text.
fn extension(der: &[u8], at: usize) -> Option<(&[u8], u8, String)> {
    let length = usize::from(*der.get(at.checked_sub(1)?)?);
    let oid = der.get(at..at + length)?;
    let (field, number) = oid.get(PRODUCTS_OID.len()..)?.split_last()?;
    // An octet string around a text, both with short lengths.
    let value = der.get(at + length..)?.strip_prefix(&[4])?;
    let (_, inner) = value.split_first()?;
    let [0x0c | 0x13 | 0x16, length, text @ ..] = inner else { return None };
    let text = text.get(..usize::from(*length)).filter(|text| text.len() <= TEXT_BYTES_MAX)?;
    (!number.is_empty()).then(|| (number, *field, String::from_utf8_lossy(text).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(fields: &[(u8, &str)]) -> String {
        let mut der = vec![0x30, 0x82, 1, 0];
        for (field, text) in fields {
            // Product 69: base 128 of one byte.
            let oid = [PRODUCTS_OID, &[69, *field]].concat();
            let length = u8::try_from(text.len()).unwrap();
            der.extend([&[0x30, 0, 6, u8::try_from(oid.len()).unwrap()], oid.as_slice()].concat());
            der.extend([&[4, length + 2, 0x0c, length], text.as_bytes()].concat());
        }
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(der))
    }

    #[test]
    fn a_certificate_names_its_product() {
        let text = certificate(&[(1, "Red Hat Enterprise Linux Server"), (2, "7.9"), (3, "x86_64")]);
        let (_, products) = crate::read_file(b"/etc/pki/product/69.pem", text.as_bytes());
        assert_eq!(products.len(), 1);
        assert_eq!(
            (products[0].name.as_str(), products[0].version.as_str()),
            ("Red Hat Enterprise Linux Server", "7.9")
        );
        for length in 0..text.len() {
            let _ = red_hat(b"", &text.as_bytes()[..length]);
        }
    }

    #[test]
    fn the_installer_of_vmware_leaves_a_mark() {
        let (_, products) = crate::read_file(b"/etc/vmware-tools/locations", b"");
        assert_eq!(products[0].name, "VMware Tools");
        assert!(crate::read_file(b"/etc/vmware-tools/tools.conf", b"").1.is_empty());
    }
}
