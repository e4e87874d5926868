//! A source file with its mutants in it, each behind its number.
//!
//! ```text
//! a + b          (if crate::mutant::is(7) {a - b} else if crate::mutant::is(8) {a * b} else {a + b})
//! !a             (if crate::mutant::is(9) {a} else {!a})
//! fn f() { … }   fn f() {if crate::mutant::is(10) {return Default::default();} … }
//! A => …         A if !crate::mutant::is(11) => …
//! ```
//!
//! The original comes last, and what is mutated inside it is switched there. A mutant that has no such site (in a constant, in a
//! pattern, between `let`s of a chain) is left out.

use std::cmp::Reverse;
use std::ops;

use serde::{Deserialize, Serialize};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, Block, Expr};

/// A change as `cargo mutants --list --json` has it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Mutant {
    pub(crate) file: String,
    pub(crate) replacement: String,
    pub(crate) span: Span,
    pub(crate) genre: Genre,
}

/// The kinds of changes that cargo-mutants makes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// A part of a file: from its first character to the one after its last.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

/// Both count from 1, in characters.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Bytes of a switched file that belong to mutants: what the compiler finds there is theirs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Part {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// One for its own branch; all of a site for the rest of the site.
    pub(crate) numbers: Vec<usize>,
}

/// A file with mutants in it.
#[derive(Debug, Default)]
pub(crate) struct Switched {
    pub(crate) text: String,
    pub(crate) parts: Vec<Part>,
}

/// Puts `mutants` of one file into its text, each with its number.
///
/// # Errors
/// If the text is no Rust.
pub(crate) fn switch(text: &str, mutants: &[(usize, &Mutant)]) -> syn::Result<Switched> {
    let file = syn::parse_file(text)?;
    let changes = mutants.iter().map(|(number, mutant)| Change::new(*number, mutant, text));
    let mut finder = Finder { text, changes: changes.collect(), sites: Vec::new() };
    finder.visit_file(&file);
    let mut sites = finder.sites;
    // Outer ones first.
    sites.sort_by_key(|site| (site.bytes.start, Reverse(site.bytes.end)));
    let mut writer = Writer { text, out: Switched::default() };
    writer.write(0..text.len(), &mut sites.into_iter().peekable());
    Ok(writer.out)
}

/// A mutant by bytes of its file.
struct Change<'a> {
    number: usize,
    genre: Genre,
    bytes: ops::Range<usize>,
    new: &'a str,
}

impl<'a> Change<'a> {
    fn new(number: usize, mutant: &'a Mutant, text: &str) -> Self {
        let bytes = byte(text, mutant.span.start)..byte(text, mutant.span.end);
        Self { number, genre: mutant.genre, bytes, new: &mutant.replacement }
    }
}

/// The byte of a file at a position.
pub(crate) fn byte(text: &str, position: Position) -> usize {
    let lines = text.split_inclusive('\n').take(position.line - 1);
    let before: usize = lines.map(str::len).sum();
    let line = &text[before..];
    let at = line.char_indices().nth(position.column - 1);
    before + at.map_or(line.len(), |(at, _)| at)
}

/// A piece of the file that is written in another way.
struct Site {
    bytes: ops::Range<usize>,
    /// Each mutant's number and its text.
    branches: Vec<(usize, String)>,
    form: Form,
}

enum Form {
    /// An expression and what stands in its place.
    Expression,
    /// Statements in front of a function's own.
    Body,
    /// A guard behind a pattern that has none.
    Guard,
}

struct Finder<'a> {
    text: &'a str,
    changes: Vec<Change<'a>>,
    sites: Vec<Site>,
}

impl Finder<'_> {
    /// Takes the mutants that `wanted` picks for a site: their text is that of `whole` with their span replaced.
    fn take(&mut self, whole: ops::Range<usize>, wanted: impl Fn(&Change<'_>) -> bool) {
        let text = self.text;
        let branch = |change: &Change<'_>| {
            let (before, after) = (whole.start..change.bytes.start, change.bytes.end..whole.end);
            (change.number, [&text[before], change.new, &text[after]].concat())
        };
        let taken = self.changes.iter().filter(|change| wanted(change)).map(branch);
        self.add(whole.clone(), taken.collect(), Form::Expression);
    }

    fn add(&mut self, bytes: ops::Range<usize>, branches: Vec<(usize, String)>, form: Form) {
        if !branches.is_empty() {
            self.sites.push(Site { bytes, branches, form });
        }
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_expr(&mut self, expr: &'ast Expr) {
        let whole = expr.span().byte_range();
        match expr {
            Expr::Binary(binary) if !has_let(expr) => {
                let op = binary.op.span().byte_range();
                self.take(whole, |it| it.genre == Genre::BinaryOperator && it.bytes == op);
            }
            Expr::Unary(unary) => {
                let op = unary.op.span().byte_range();
                self.take(whole, |it| it.genre == Genre::UnaryOperator && it.bytes == op);
            }
            Expr::Struct(value) => {
                let starts = value.fields.iter().map(|field| field.span().byte_range().start);
                let starts: Vec<usize> = starts.collect();
                self.take(whole, |it| {
                    it.genre == Genre::StructField && starts.contains(&it.bytes.start)
                });
            }
            _ => {}
        }
        visit::visit_expr(self, expr);
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let pattern = arm.pat.span().byte_range();
        let starts = |it: &Change<'_>| it.bytes.start == pattern.start;
        let gone = self.changes.iter().filter(|it| it.genre == Genre::MatchArm && starts(it));
        let gone: Vec<usize> = gone.map(|it| it.number).collect();
        match &arm.guard {
            Some((_, guard)) if !has_let(guard) => {
                let whole = guard.span().byte_range();
                self.take(whole.clone(), |it| {
                    it.genre == Genre::MatchArmGuard && it.bytes == whole
                });
                let never = gone.into_iter().map(|number| (number, "false".to_owned()));
                self.add(whole.clone(), never.collect(), Form::Expression);
            }
            Some(_) => {}
            None => {
                let never = gone.into_iter().map(|number| (number, String::new()));
                self.add(pattern.end..pattern.end, never.collect(), Form::Guard);
            }
        }
        visit::visit_arm(self, arm);
    }

    fn visit_block(&mut self, block: &'ast Block) {
        if let Some(first) = block.stmts.first() {
            let (start, open) =
                (first.span().byte_range().start, block.brace_token.span.open().byte_range().end);
            let of_body = |it: &&Change<'_>| it.genre == Genre::FnValue && it.bytes.start == start;
            let values = self.changes.iter().filter(of_body);
            let values = values.map(|it| (it.number, it.new.to_owned())).collect();
            self.add(open..open, values, Form::Body);
        }
        visit::visit_block(self, block);
    }

    // What is computed while compiling can't be switched while running.
    fn visit_item_const(&mut self, _: &'ast syn::ItemConst) {}
    fn visit_item_static(&mut self, _: &'ast syn::ItemStatic) {}
    fn visit_impl_item_const(&mut self, _: &'ast syn::ImplItemConst) {}
    fn visit_trait_item_const(&mut self, _: &'ast syn::TraitItemConst) {}
    fn visit_expr_const(&mut self, _: &'ast syn::ExprConst) {}
    fn visit_expr_repeat(&mut self, repeat: &'ast syn::ExprRepeat) {
        visit::visit_expr(self, &repeat.expr);
    }
    fn visit_type(&mut self, _: &'ast syn::Type) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
    fn visit_generics(&mut self, _: &'ast syn::Generics) {}
    fn visit_variant(&mut self, _: &'ast syn::Variant) {}
}

/// Whether there is a `let` in it, which only a chain of `&&` may have.
fn has_let(expr: &Expr) -> bool {
    match expr {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

struct Writer<'a> {
    text: &'a str,
    out: Switched,
}

type Sites = std::iter::Peekable<std::vec::IntoIter<Site>>;

impl Writer<'_> {
    fn write(&mut self, bytes: ops::Range<usize>, sites: &mut Sites) {
        let mut at = bytes.start;
        while let Some(site) = sites.next_if(|site| site.bytes.end <= bytes.end) {
            self.say(&self.text[at..site.bytes.start]);
            at = site.bytes.end;
            self.site(site, sites);
        }
        self.say(&self.text[at..bytes.end]);
    }

    fn site(&mut self, site: Site, sites: &mut Sites) {
        let start = self.out.text.len();
        let numbers: Vec<usize> = site.branches.iter().map(|(number, _)| *number).collect();
        match site.form {
            Form::Expression => {
                self.say("(");
                for (number, text) in site.branches {
                    self.branch(
                        number,
                        &format!("if crate::mutant::is({number}) {{{text}}} else "),
                    );
                }
                self.say("{");
                self.write(site.bytes, sites);
                self.say("})");
            }
            Form::Body => {
                for (number, value) in site.branches {
                    let text = format!("if crate::mutant::is({number}) {{return {value};}}");
                    self.branch(number, &text);
                }
            }
            Form::Guard => {
                for (number, _) in site.branches {
                    self.branch(number, &format!(" if !crate::mutant::is({number})"));
                }
            }
        }
        self.out.parts.push(Part { start, end: self.out.text.len(), numbers });
    }

    fn branch(&mut self, number: usize, text: &str) {
        let start = self.out.text.len();
        self.say(text);
        self.out.parts.push(Part { start, end: self.out.text.len(), numbers: vec![number] });
    }

    fn say(&mut self, text: &str) {
        self.out.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A mutant of the first `old` in the text.
    fn mutant(text: &str, genre: Genre, old: &str, new: &str) -> Mutant {
        let at = text.find(old).unwrap();
        let position = |at: usize| Position {
            line: text[..at].matches('\n').count() + 1,
            column: text[..at].rsplit('\n').next().unwrap().chars().count() + 1,
        };
        let span = Span { start: position(at), end: position(at + old.len()) };
        Mutant { file: String::new(), replacement: new.into(), span, genre }
    }

    fn switched(text: &str, mutants: &[(Genre, &str, &str)]) -> String {
        let mutants: Vec<Mutant> =
            mutants.iter().map(|(genre, old, new)| mutant(text, *genre, old, new)).collect();
        let numbered: Vec<(usize, &Mutant)> = (1..).zip(&mutants).collect();
        switch(text, &numbered).unwrap().text
    }

    #[test]
    fn an_operator_has_all_its_branches_and_the_original_last() {
        let both = [(Genre::BinaryOperator, "+", "-"), (Genre::BinaryOperator, "+", "*")];
        assert_eq!(
            switched("fn f() -> u8 { é + b }", &both),
            "fn f() -> u8 { (if crate::mutant::is(1) {é - b} else \
             if crate::mutant::is(2) {é * b} else {é + b}) }"
        );
    }

    #[test]
    fn what_is_inside_is_switched_in_the_original_alone() {
        let both = [(Genre::BinaryOperator, "&&", "||"), (Genre::UnaryOperator, "!", "")];
        assert_eq!(
            switched("fn f() { g(a && !b) }", &both),
            "fn f() { g((if crate::mutant::is(1) {a || !b} else \
             {a && (if crate::mutant::is(2) {b} else {!b})})) }"
        );
    }

    #[test]
    fn functions_return_at_once_and_arms_never_match() {
        let text = "fn f() -> u8 {\n    match a { 1 => 2, x if x > 3 => 4, _ => 5 }\n}";
        let all = [
            (Genre::FnValue, "match a { 1 => 2, x if x > 3 => 4, _ => 5 }", "0"),
            (Genre::MatchArm, "1 => 2,", ""),
            (Genre::MatchArmGuard, "x > 3", "true"),
            (Genre::MatchArm, "x if x > 3 => 4,", ""),
        ];
        let got = switched(text, &all);
        assert!(got.starts_with("fn f() -> u8 {if crate::mutant::is(1) {return 0;}\n"), "{got}");
        assert!(got.contains("1 if !crate::mutant::is(2) => 2"), "{got}");
        assert!(got.contains("if crate::mutant::is(3) {true} else "), "{got}");
        assert!(got.contains("if crate::mutant::is(4) {false} else "), "{got}");
        assert!(syn::parse_file(&got).is_ok(), "{got}");
    }

    #[test]
    fn a_field_comes_from_the_base() {
        let got = switched("fn f() -> P { P { a: 1, ..b } }", &[(Genre::StructField, "a: 1,", "")]);
        assert!(got.contains("{P {  ..b }} else {P { a: 1, ..b }}"), "{got}");
    }

    #[test]
    fn what_is_constant_or_between_lets_stays() {
        let text = "const A: u8 = 1 + 2; fn f() { if let Some(x) = y && z {} }";
        let both = [(Genre::BinaryOperator, "+", "-"), (Genre::BinaryOperator, "&&", "||")];
        assert_eq!(switched(text, &both), text);
    }

    #[test]
    fn parts_say_whose_bytes_are_whose() {
        let text = "fn f() -> u8 { a + b }";
        let mutant = mutant(text, Genre::BinaryOperator, "+", "-");
        let got = switch(text, &[(5, &mutant)]).unwrap();
        let parts: Vec<(&str, &[usize])> = got
            .parts
            .iter()
            .map(|part| (&got.text[part.start..part.end], part.numbers.as_slice()))
            .collect();
        let branch = "if crate::mutant::is(5) {a - b} else ";
        let site = format!("({branch}{{a + b}})");
        assert_eq!(parts, [(branch, &[5][..]), (site.as_str(), &[5])]);
    }
}
