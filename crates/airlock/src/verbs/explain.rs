//! `airlock policy explain`.

use super::Context;
use crate::cli::{ExplainArgs, Format};
use crate::failure::{Code, Failure};
use crate::{output, site};
use airlock_model::{Action, Check, Confidence, Reason, Site};
use airlock_policy::{Containers, Document, Effective, FreeSpace, Pattern, Rule, Scope};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The checks, in the order in which they are explained.
const CHECKS: [Check; 7] = [
    Check::Financial,
    Check::Health,
    Check::Regulated,
    Check::Secrets,
    Check::Malware,
    Check::Vulnerability,
    Check::Licensing,
];

/// The reasons for which bytes cannot be inspected, in the order in which they are explained.
const REASONS: [Reason; 4] = [Reason::Encrypted, Reason::Unreadable, Reason::Limit, Reason::Unsupported];

/// Runs the verb.
pub(crate) fn run(context: Context, args: &ExplainArgs) -> Result<Code, Failure> {
    let one = site::policy(args.file.as_deref())?.0;
    let other = args.other.as_deref().map(|path| site::policy(Some(path))).transpose()?;
    let mut documents = vec![one];
    documents.extend(other.map(|(document, _)| document));
    let first = documents.first().expect("there is one");
    let effective = Effective::merge(first, documents.last().unwrap_or(first));
    let rules = explained(&effective, &documents);
    match context.format {
        Format::Json => output::json(&as_json(&effective, &documents, &rules))?,
        Format::Table => output::print(&as_text(&effective, &documents, &rules))?,
    }
    Ok(Code::Clean)
}

/// A rule of the effective policy, and the names of the policies that have it.
struct Explained<'a> {
    rule: &'a Rule,
    asked_by: Vec<&'a str>,
}

/// Says of every rule whose it is. The effective rules are a union, so each stands in a document.
fn explained<'a>(effective: &'a Effective, documents: &'a [Document]) -> Vec<Explained<'a>> {
    let alone: Vec<(&str, Effective)> =
        documents.iter().map(|one| (one.name.as_str(), Effective::merge(one, one))).collect();
    let asked_by = |rule: &Rule| {
        alone.iter().filter(|(_, of)| of.rules().contains(rule)).map(|(name, _)| *name).collect()
    };
    let mut rules: Vec<Explained<'a>> =
        effective.rules().iter().map(|rule| Explained { rule, asked_by: asked_by(rule) }).collect();
    let place = |check| CHECKS.iter().position(|one| *one == check);
    rules.sort_by_key(|one| {
        (place(one.rule.check), std::cmp::Reverse(one.rule.action), std::cmp::Reverse(one.rule.confidence))
    });
    rules
}

/// What is looked for under `check` by the built-in detectors and by the patterns of a policy.
fn detectors(check: Check, effective: &Effective) -> BTreeSet<String> {
    let builtin = airlock_checks::detectors::builtin(|_| true);
    let builtin = builtin.iter().filter(|detector| detector.check() == check).flat_map(|detector| {
        std::iter::once(detector.name()).chain(detector.classes().iter().map(|class| class.0))
    });
    let patterns = effective.patterns().iter().filter(|pattern| pattern.text().check == check);
    let patterns = patterns.map(|pattern| format!("pattern:{}", pattern.text().name));
    builtin.map(str::to_owned).chain(patterns).collect()
}

/// Says what comes of a rule that applies.
fn consequence(action: Action, scope: Scope) -> String {
    let what = match scope {
        Scope::Blocks => "the blocks that it touches are",
        Scope::File => "the file is",
        Scope::Disk => "the disk is",
        Scope::Vm => "the VM is",
    };
    match action {
        Action::Allow => "nothing".into(),
        Action::Warn => "reported, and kept".into(),
        Action::Hold => format!("{what} not kept; --on-fail chooses whether the rest is"),
        Action::Terminate => "everything is discarded, whatever --on-fail says".into(),
    }
}

/// Says when a rule applies.
fn condition(rule: &Rule) -> String {
    let mut text = if rule.confidence == Confidence::default() {
        "anything found".to_owned()
    } else {
        format!("confidence {} or more", rule.confidence)
    };
    if rule.distinct > 1 {
        let within = match rule.scope {
            Scope::Blocks | Scope::File => "file",
            Scope::Disk => "disk",
            Scope::Vm => "VM",
        };
        text.push_str(&format!(", {} different values in one {within}", rule.distinct));
    }
    if let Some(detectors) = &rule.detectors {
        let names: Vec<&str> = detectors.iter().map(String::as_str).collect();
        text.push_str(&format!(", only {}", names.join(", ")));
    }
    match rule.sites.iter().collect::<Vec<_>>().as_slice() {
        [Site::Source] => text.push_str(", at the source"),
        [Site::Destination] => text.push_str(", at the destination"),
        _ => {}
    }
    text
}

/// Says what comes of bytes that could not be inspected for what they are.
fn unscannable(action: Action) -> &'static str {
    match action {
        Action::Allow => "kept; the evidence says how many bytes",
        Action::Warn => "kept, and reported",
        Action::Hold => "not kept; --on-fail chooses whether the rest is",
        Action::Terminate => "everything is discarded, whatever --on-fail says",
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Encrypted => "only ciphertext was seen",
        Reason::Unreadable => "the source could not be read",
        Reason::Limit => "a budget was used up",
        Reason::Unsupported => "not understood, inspected as raw bytes",
    }
}

fn as_text(effective: &Effective, documents: &[Document], rules: &[Explained<'_>]) -> String {
    let names: Vec<String> = documents.iter().map(|one| format!("{:?}", one.name)).collect();
    let mut text = match names.as_slice() {
        [one] => format!("What the policy {one} does at a site, if the other site's is no stricter\n"),
        several => format!("What a transfer between {} does: the stricter of both\n", several.join(" and ")),
    };
    text.push_str(&format!("effective policy {}\n", effective.digest()));
    for check in CHECKS {
        let names: Vec<String> = detectors(check, effective).into_iter().collect();
        text.push_str(&format!("\n{}\n", check.name()));
        if !names.is_empty() {
            text.push_str(&wrapped(&names.join(", "), "  looks for  "));
        }
        let mut any = false;
        for one in rules.iter().filter(|one| one.rule.check == check) {
            any = true;
            let (rule, by) = (one.rule, one.asked_by.join(", "));
            let whose = if documents.len() > 1 { format!("  [{by}]") } else { String::new() };
            text.push_str(&format!(
                "  {:<9}  {}: {}{whose}\n",
                rule.action.name(),
                condition(rule),
                consequence(rule.action, rule.scope)
            ));
        }
        if !any {
            text.push_str("  no rule: what is found is not reported, and kept\n");
        }
    }
    text.push_str("\nWhat cannot be inspected\n");
    for reason in REASONS {
        let action = effective.unscannable().action(reason);
        let (name, because) = (reason.name(), reason_text(reason));
        text.push_str(&format!("  {:<9}  {name} ({because}): {}\n", action.name(), unscannable(action)));
    }
    text.push_str("\nElse\n");
    for (what, says) in others(effective) {
        text.push_str(&format!("  {what:<22}{says}\n"));
    }
    text
}

/// What else a policy says, in words.
fn others(effective: &Effective) -> [(&'static str, &'static str); 4] {
    let metadata = match effective.metadata() {
        Action::Terminate => "a held finding discards everything",
        _ => "held blocks are not kept, and the VM may not boot",
    };
    let free = match effective.free_space() {
        FreeSpace::Scan => "inspected and sent like everything else",
        FreeSpace::Drop => "not sent; the target reads zeros",
    };
    let inside = match effective.containers() {
        Containers::Open => "archives, documents, mails, databases are opened",
        Containers::Leave => "archives, documents, mails are not opened, and count as unsupported",
    };
    let release = "a file is sent only after all of it was judged";
    [
        ("file system metadata", metadata),
        ("free space", free),
        ("inside of files", inside),
        ("release", release),
    ]
}

/// Breaks words into lines of at most 100 characters, the first behind `head` and the others beneath it.
fn wrapped(text: &str, head: &str) -> String {
    const COLUMNS: usize = 100;
    let mut lines = String::from(head);
    let mut column = head.len();
    for word in text.split(' ') {
        if column + word.len() > COLUMNS && column > head.len() {
            lines.push('\n');
            lines.push_str(&" ".repeat(head.len()));
            column = head.len();
        } else if column > head.len() {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += word.len();
    }
    lines.push('\n');
    lines
}

fn as_json(effective: &Effective, documents: &[Document], rules: &[Explained<'_>]) -> Value {
    let policies: Vec<Value> =
        documents.iter().map(|one| json!({ "name": one.name, "digest": one.digest().to_string() })).collect();
    let rules: Vec<Value> = rules
        .iter()
        .map(|one| {
            json!({
                "rule": one.rule, "asked_by": one.asked_by, "when": condition(one.rule),
                "then": consequence(one.rule.action, one.rule.scope),
            })
        })
        .collect();
    let looks_for: serde_json::Map<String, Value> =
        CHECKS.iter().map(|check| (check.name().to_owned(), json!(detectors(*check, effective)))).collect();
    let unscannable: Vec<Value> = REASONS
        .iter()
        .map(|reason| {
            let action = effective.unscannable().action(*reason);
            json!({ "reason": reason.name(), "action": action.name(), "then": unscannable(action) })
        })
        .collect();
    let patterns: Vec<&str> = effective.patterns().iter().map(pattern_name).collect();
    json!({
        "schema": "airlock.policy-explain/1", "result": { "code": 0 }, "policies": policies,
        "digest": effective.digest().to_string(), "detectors": looks_for, "rules": rules,
        "patterns": patterns, "unscannable": unscannable, "metadata": effective.metadata(),
        "free_space": effective.free_space(), "containers": effective.containers(),
    })
}

fn pattern_name(pattern: &Pattern) -> &str {
    &pattern.text().name
}
