//! An inventory on its way from the worker to the director.

use super::wire::{Answer, PackageRow, ProductRow};
use airlock_inventory::{ENTRIES_MAX, Evidence, Inventory, Package, Product, System};

/// Entries in one frame.
const BATCH: usize = 1024;
/// Most bytes of a name, a version or a path. A path of 64 KiB is escaped.
const WORD_BYTES_MAX: usize = 512 << 10;
/// Most bytes of all words.
const WORDS_BYTES_MAX: usize = 1 << 30;
/// Most operating systems.
const SYSTEMS_MAX: usize = 4096;

/// Hands an inventory over, frame by frame.
pub(super) fn hand_over<E>(
    inventory: Inventory,
    say: &mut dyn FnMut(&Answer) -> Result<(), E>,
) -> Result<(), E> {
    let Inventory { systems, packages, products, left_out } = inventory;
    let mut packages = packages.into_iter().peekable();
    while packages.peek().is_some() {
        say(&Answer::Packages(packages.by_ref().take(BATCH).map(package_row).collect()))?;
    }
    let mut products = products.into_iter().peekable();
    while products.peek().is_some() {
        say(&Answer::Products(products.by_ref().take(BATCH).map(product_row).collect()))?;
    }
    say(&Answer::Inventoried { systems, left_out })
}

fn package_row(package: Package) -> PackageRow {
    let Package { ecosystem, name, version, source, source_version, architecture, licence: _, evidence } =
        package;
    PackageRow { ecosystem, name, version, source, source_version, architecture, evidence }
}

fn product_row(product: Product) -> ProductRow {
    let Product { name, version, publisher, evidence } = product;
    ProductRow { name, version, publisher, evidence }
}

/// Puts together what a worker listed.
#[derive(Debug, Default)]
pub(super) struct TakeOver {
    inventory: Inventory,
    bytes: usize,
}

impl TakeOver {
    fn words(&mut self, words: &[&str], evidence: &Evidence) -> Result<(), &'static str> {
        let Evidence { disk, volume, path, digest, offset: _ } = evidence;
        let all = words.iter().copied().chain([disk, volume, path, digest].map(String::as_str));
        for word in all {
            self.bytes = self.bytes.saturating_add(word.len());
            if word.len() > WORD_BYTES_MAX || self.bytes > WORDS_BYTES_MAX {
                return Err("it lists longer names than there may be");
            }
        }
        // What is said of packages is escaped when it is said; where they are is so already.
        let printable = |word: &String| !word.chars().any(char::is_control);
        if ![disk, volume, path, digest].into_iter().all(printable) {
            return Err("it lists names that are none");
        }
        let entries = self.inventory.packages.len().saturating_add(self.inventory.products.len());
        if entries >= ENTRIES_MAX.saturating_add(SYSTEMS_MAX) {
            return Err("it lists more than an inventory may have");
        }
        Ok(())
    }

    /// Takes packages.
    pub(super) fn packages(&mut self, rows: Vec<PackageRow>) -> Result<(), &'static str> {
        for row in rows {
            let PackageRow { ecosystem, name, version, source, source_version, architecture, evidence } = row;
            let may_be = |word: &Option<String>| word.clone().unwrap_or_default();
            let others = [&source, &source_version, &architecture].map(may_be);
            self.words(&[&name, &version, &others[0], &others[1], &others[2]], &evidence)?;
            self.inventory.packages.push(Package {
                ecosystem,
                name,
                version,
                source,
                source_version,
                architecture,
                licence: None,
                evidence,
            });
        }
        Ok(())
    }

    /// Takes products.
    pub(super) fn products(&mut self, rows: Vec<ProductRow>) -> Result<(), &'static str> {
        for ProductRow { name, version, publisher, evidence } in rows {
            self.words(&[&name, &version, &publisher], &evidence)?;
            self.inventory.products.push(Product { name, version, publisher, evidence });
        }
        Ok(())
    }

    /// Ends the inventory.
    pub(super) fn finish(mut self, systems: Vec<System>, left_out: u64) -> Result<Inventory, &'static str> {
        if systems.len() > SYSTEMS_MAX {
            return Err("it lists more than an inventory may have");
        }
        for system in &systems {
            let System { id, version, codename, name, evidence } = system;
            self.words(&[id, version, codename, name], &evidence.clone().unwrap_or_default())?;
        }
        Ok(Inventory { systems, left_out, ..self.inventory })
    }
}
