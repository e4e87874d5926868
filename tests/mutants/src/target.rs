//! Which mutants the guest's target alone has: what is compiled with `#[cfg(target_os = "none")]`, as an item or as a module.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, ImplItem, Item};

use crate::switch::{Mutant, byte};

/// Their places in the list.
pub(crate) fn guest_only(mutants: &[Mutant]) -> Result<BTreeSet<usize>, Box<dyn Error>> {
    let mut sources = Sources::default();
    let mut found = BTreeSet::new();
    for (number, mutant) in mutants.iter().enumerate() {
        let path = Path::new(&mutant.file);
        let whole = sources.is_guest_module(path)?;
        let source = sources.get(path)?;
        let at = byte(&source.text, mutant.span.start);
        if whole || source.guest.items.iter().any(|item| item.contains(&at)) {
            found.insert(number);
        }
    }
    Ok(found)
}

#[derive(Default)]
struct Sources(BTreeMap<PathBuf, Source>);

struct Source {
    text: String,
    guest: Guest,
}

impl Sources {
    fn get(&mut self, path: &Path) -> Result<&Source, Box<dyn Error>> {
        if !self.0.contains_key(path) {
            let text = fs::read_to_string(path)?;
            let source = Source { guest: Guest::of(&text)?, text };
            self.0.insert(path.to_owned(), source);
        }
        Ok(&self.0[path])
    }

    /// Whether the file is a module that some file above it declares for the guest alone.
    fn is_guest_module(&mut self, path: &Path) -> Result<bool, Box<dyn Error>> {
        let own = if path.ends_with("mod.rs") { path.parent().unwrap_or(path) } else { path };
        let (Some(name), Some(folder)) = (own.file_stem(), own.parent()) else { return Ok(false) };
        let parent = ["mod.rs", "lib.rs", "main.rs"].map(|file| folder.join(file));
        let Some(parent) = parent.into_iter().find(|file| file.is_file() && file != path) else {
            return Ok(false);
        };
        let name = name.to_string_lossy();
        if self.get(&parent)?.guest.modules.contains(name.as_ref()) {
            return Ok(true);
        }
        if parent.ends_with("mod.rs") { self.is_guest_module(&parent) } else { Ok(false) }
    }
}

/// What of a file is the guest's alone.
#[derive(Debug, Default)]
struct Guest {
    items: Vec<Range<usize>>,
    modules: BTreeSet<String>,
}

impl Guest {
    fn of(text: &str) -> syn::Result<Self> {
        let mut guest = Self::default();
        guest.visit_file(&syn::parse_file(text)?);
        Ok(guest)
    }
}

impl<'ast> Visit<'ast> for Guest {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_guest) {
            self.items.push(item.span().byte_range());
            if let Item::Mod(module) = item {
                self.modules.insert(module.ident.to_string());
            }
        }
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        if let ImplItem::Fn(function) = item
            && function.attrs.iter().any(is_guest)
        {
            self.items.push(item.span().byte_range());
        }
        visit::visit_impl_item(self, item);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        _ => &[],
    }
}

fn is_guest(attribute: &Attribute) -> bool {
    let list = attribute.meta.require_list();
    list.is_ok_and(|list| {
        list.path.is_ident("cfg") && list.tokens.to_string() == "target_os = \"none\""
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_functions_and_modules_of_the_guest_are_seen() {
        let text = "#[cfg(target_os = \"none\")]\nmod start;\n\
                    #[cfg(not(target_os = \"none\"))]\nmod fake;\n\
                    impl A {\n#[cfg(target_os = \"none\")]\nfn f() {}\nfn g() {}\n}\n\
                    #[cfg(target_os = \"none\")]\nimpl B for A { fn h() {} }\n";
        let guest = Guest::of(text).unwrap();
        assert_eq!(guest.modules.iter().collect::<Vec<_>>(), ["start"]);
        let inside = |name: &str| {
            let at = text.find(name).unwrap();
            guest.items.iter().any(|item| item.contains(&at))
        };
        let names = ["fn f", "fn h", "mod start", "fn g", "mod fake"];
        assert_eq!(names.map(inside), [true, true, true, false, false]);
    }
}
