//! Imports go one way: no file of the guest needs one that needs it, and none names a layer above its own.
//!
//! A file *imports* another where a path in it (of a `use`, a type, an expression, a macro) leads to something that is defined in
//! the other, by way of whatever re-exports. Re-exports are no imports of their own, and tests are left out. The layers are
//! those of docs/architecture.md, in its order.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Item, ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

/// Names from the crate's root down: `["dma", "pool"]`.
type Names = Vec<String>;

/// What a name in a module stands for.
#[derive(Clone, Debug)]
enum Meaning {
    /// An item that is defined there.
    Item,
    /// A module below it.
    Module,
    /// Something else's name.
    Import(Names),
}

#[derive(Debug, Default)]
struct Module {
    file: String,
    names: BTreeMap<String, Meaning>,
    globs: Vec<Names>,
    /// The paths of what is in it, as they are written.
    paths: Vec<Names>,
}

#[derive(Debug, Default)]
struct Tree {
    /// The folder of the crate's root.
    root: PathBuf,
    modules: BTreeMap<Names, Module>,
}

fn is_of_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| {
                let words = list.tokens.to_string();
                words == "test" || words.starts_with("all (test")
            })
    })
}

/// The paths of an import, each with the name that it gets; a glob gets none.
fn leaves(tree: &UseTree, before: &[String], found: &mut Vec<(Names, Option<String>)>) {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => leaves(&path.tree, &with(&path.ident), found),
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.to_vec(), before.last().cloned()));
        }
        UseTree::Name(name) => found.push((with(&name.ident), Some(name.ident.to_string()))),
        UseTree::Rename(name) if name.ident == "self" => {
            found.push((before.to_vec(), Some(name.rename.to_string())));
        }
        UseTree::Rename(name) => found.push((with(&name.ident), Some(name.rename.to_string()))),
        UseTree::Glob(_) => found.push((before.to_vec(), None)),
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, before, found)),
    }
}

/// Collects what the items of one module name.
struct Collector<'t> {
    tree: &'t mut Tree,
    at: Names,
    file: &'t Path,
}

impl Collector<'_> {
    fn module(&mut self) -> &mut Module {
        self.tree.modules.entry(self.at.clone()).or_default()
    }

    fn define(&mut self, name: &syn::Ident, meaning: Meaning) {
        self.module().names.insert(name.to_string(), meaning);
    }

    /// What an item is called, if it can be named.
    fn name(item: &Item) -> Option<&syn::Ident> {
        Some(match item {
            Item::Const(item) => &item.ident,
            Item::Enum(item) => &item.ident,
            Item::Fn(item) => &item.sig.ident,
            Item::Macro(item) => item.ident.as_ref()?,
            Item::Static(item) => &item.ident,
            Item::Struct(item) => &item.ident,
            Item::Trait(item) => &item.ident,
            Item::Type(item) => &item.ident,
            Item::Union(item) => &item.ident,
            _ => return None,
        })
    }
}

impl<'s> Visit<'s> for Collector<'_> {
    fn visit_item(&mut self, item: &'s Item) {
        if let Some(name) = Self::name(item) {
            self.define(name, Meaning::Item);
        }
        visit::visit_item(self, item);
    }

    fn visit_item_mod(&mut self, item: &'s ItemMod) {
        if is_of_tests(&item.attrs) {
            return;
        }
        self.define(&item.ident, Meaning::Module);
        self.at.push(item.ident.to_string());
        match &item.content {
            Some((_, items)) => {
                self.module().file = self.file.display().to_string();
                items.iter().for_each(|item| self.visit_item(item));
            }
            None => self.tree.read(&self.at),
        }
        self.at.pop();
    }

    fn visit_item_use(&mut self, item: &'s ItemUse) {
        if is_of_tests(&item.attrs) {
            return;
        }
        let mut found = Vec::new();
        leaves(&item.tree, &[], &mut found);
        let is_reexport = !matches!(item.vis, Visibility::Inherited);
        for (path, name) in found {
            match name {
                Some(name) => drop(self.module().names.insert(name, Meaning::Import(path.clone()))),
                None => self.module().globs.push(path.clone()),
            }
            if !is_reexport {
                self.module().paths.push(path);
            }
        }
    }

    /// `pub(super)` needs nothing of its parent.
    fn visit_visibility(&mut self, _: &'s Visibility) {}

    /// What a macro makes of its words is not known; what is a path by its first word is one.
    fn visit_macro(&mut self, call: &'s Macro) {
        let words = call.tokens.to_string();
        let words: Vec<_> = words.split_whitespace().collect();
        for from in 0..words.len() {
            if ["crate", "super"].contains(&words[from]) && (from == 0 || words[from - 1] != "::") {
                let later = words[from + 1..].chunks_exact(2).take_while(|two| two[0] == "::");
                let names = [words[from]].into_iter().chain(later.map(|two| two[1]));
                self.module().paths.push(names.map(String::from).collect());
            }
        }
        visit::visit_macro(self, call);
    }

    fn visit_path(&mut self, path: &'s syn::Path) {
        let names = path.segments.iter().map(|segment| segment.ident.to_string());
        self.module().paths.push(names.collect());
        visit::visit_path(self, path);
    }
}

impl Tree {
    /// Reads the module of that name, and those below it.
    fn read(&mut self, at: &[String]) {
        let folder = at.iter().fold(self.root.clone(), |path, name| path.join(name));
        let files = match at {
            [] => [folder.join("lib.rs"), PathBuf::new()],
            _ => [folder.with_extension("rs"), folder.join("mod.rs")],
        };
        let file = files.iter().find(|file| file.is_file()).expect("a file for each module");
        let text = fs::read_to_string(file).expect("tests run in the repository's top folder");
        let parsed = syn::parse_file(&text).expect("what the compiler took");
        self.modules.entry(at.to_vec()).or_default().file = file.display().to_string();
        Collector { tree: self, at: at.to_vec(), file }.visit_file(&parsed);
    }

    /// The module in which what a path leads to is defined, and whether it is a module itself; none for another crate's.
    fn resolve(&self, from: &[String], path: &[String], turns: usize) -> Option<(Names, bool)> {
        let turns = turns.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let (at, rest) = match first.as_str() {
            "crate" => (vec![], rest),
            "self" => (from.to_vec(), rest),
            "super" => (from.split_last()?.1.to_vec(), rest),
            _ => (from.to_vec(), path),
        };
        if rest.first().is_some_and(|next| next == "super") {
            return self.resolve(&at, rest, turns);
        }
        self.descend(at, rest, turns)
    }

    /// The same from a module on.
    fn descend(&self, at: Names, path: &[String], turns: usize) -> Option<(Names, bool)> {
        let Some((name, rest)) = path.split_first() else { return Some((at, true)) };
        let module = self.modules.get(&at)?;
        match module.names.get(name) {
            Some(Meaning::Item) => Some((at, false)),
            Some(Meaning::Module) => {
                self.descend([&at[..], std::slice::from_ref(name)].concat(), rest, turns)
            }
            Some(Meaning::Import(import)) if import.first() != Some(name) => {
                match self.resolve(&at, import, turns)? {
                    (found, true) => self.descend(found, rest, turns),
                    item => Some(item),
                }
            }
            _ => module.globs.iter().find_map(|glob| {
                let (found, _) =
                    self.resolve(&at, glob, turns).filter(|(found, _)| *found != at)?;
                self.descend(found, path, turns)
            }),
        }
    }

    /// Which file imports which.
    fn imports(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut imports: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (at, module) in &self.modules {
            let found = module.paths.iter().filter_map(|path| self.resolve(at, path, 32));
            // What is wanted of a module has a path of its own.
            let items = found.filter(|(_, is_module)| !is_module);
            let files = items.map(|(found, _)| self.modules[&found].file.as_str());
            imports.entry(&module.file).or_default().extend(files.filter(|f| *f != module.file));
        }
        imports
    }
}

/// A crate's.
fn tree(root: &str) -> Tree {
    let mut tree = Tree { root: root.into(), ..Tree::default() };
    tree.read(&[]);
    tree
}

/// The files that a file needs, by whatever way, with the next on the way to each.
fn needs<'t>(
    imports: &BTreeMap<&'t str, BTreeSet<&'t str>>,
    file: &'t str,
) -> BTreeMap<&'t str, &'t str> {
    let mut from = BTreeMap::new();
    let mut next = vec![file];
    while let Some(file) = next.pop() {
        for import in imports.get(file).into_iter().flatten() {
            from.entry(*import).or_insert_with(|| {
                next.push(import);
                file
            });
        }
    }
    from
}

#[test]
fn no_file_needs_one_that_needs_it() {
    for (root, least) in [("src", 200), ("protocol/src", 15)] {
        one_way(&tree(root), least);
    }
}

fn one_way(tree: &Tree, least: usize) {
    let imports = tree.imports();
    assert!(imports.len() > least, "{} files", imports.len());
    let mut found = Vec::new();
    for file in imports.keys() {
        let needs = needs(&imports, file);
        let (mut way, mut at) = (vec![*file], *file);
        while let Some(before) = needs.get(at).filter(|_| needs.contains_key(file)) {
            way.push(before);
            at = before;
            if at == *file {
                break;
            }
        }
        if way.len() > 1 {
            way.reverse();
            found.push(way.join(" -> "));
        }
    }
    assert!(found.is_empty(), "imports that go round:\n{}", found.join("\n"));
}

/// The layers of docs/architecture.md, the lowest first.
fn layers() -> Vec<String> {
    let text = fs::read_to_string("docs/architecture.md").expect("the repository's top folder");
    let block = text.split("```").nth(1).expect("the list of layers");
    let names = block.lines().filter_map(|line| line.split_whitespace().next());
    let names: Vec<_> = names.map(String::from).collect();
    let ends = [names.first(), names.last()].map(|name| name.map_or("", String::as_str));
    assert_eq!(
        ends,
        ["protocol", "lib"],
        "the first block of docs/architecture.md is that of the layers"
    );
    let entries = fs::read_dir("src").expect("the repository's top folder").flatten();
    for folder in entries.filter(|entry| entry.path().is_dir()) {
        let name = folder.file_name().to_string_lossy().into_owned();
        assert!(names.contains(&name), "docs/architecture.md has no layer {name}");
    }
    names
}

#[test]
fn no_layer_names_a_higher_one() {
    let (tree, layers) = (tree("src"), layers());
    let layer = |file: &str| {
        let inside = file.trim_start_matches("src/").split('/').next().unwrap_or_default();
        // What is in no folder and in no line is part of the uppermost.
        let found = layers.iter().position(|layer| *layer == inside.trim_end_matches(".rs"));
        found.unwrap_or(layers.len() - 1)
    };
    let mut upwards = Vec::new();
    for (file, imports) in tree.imports() {
        let own = layer(file);
        let above = imports.into_iter().filter(|import| layer(import) > own);
        upwards.extend(above.map(|import| format!("{file} -> {import}")));
    }
    assert!(upwards.is_empty(), "imports of a higher layer:\n{}", upwards.join("\n"));
}
