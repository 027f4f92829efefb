//! What is shipped is valid, what is not valid is not read, and what cannot be evaluated denies.

use super::*;
use std::collections::BTreeSet;
use std::path::Path;

const SMALL: &str = "entity Vm; entity Key; entity Seat = { vm: Vm }; \
    action readRoster appliesTo { principal: Seat, resource: Vm, context: { key: Key } };";

fn read(text: &str) -> Result<Policies, PolicyError> {
    Policies::read(SMALL, &[("test.cedar", text)])
}

#[test]
fn shipped_policies_pass_strict_validation_and_are_all_that_lies_in_the_folder() {
    let policies = Policies::read(SCHEMA, &FILES).unwrap();
    assert!(policies.set().policies().count() >= 10);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../policies/access");
    let found = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let found: BTreeSet<_> = found.filter(|name| name.ends_with(".cedar")).collect();
    assert_eq!(found, FILES.iter().map(|(name, _)| (*name).to_owned()).collect());
}

#[test]
fn policies_without_name_or_reason_or_against_the_schema_are_refused() {
    let refused = |text: &str| read(text).map(drop).unwrap_err();
    let scope = "(principal, action, resource)";
    assert!(read(&format!("@id(\"a\") @reason(\"b\") permit {scope};")).is_ok());
    assert!(matches!(refused(&format!("permit {scope};")), PolicyError::Nameless { .. }));
    assert!(matches!(refused(&format!("@id(\"a\") permit {scope};")), PolicyError::Nameless { .. }));
    assert!(matches!(refused(&format!("@id(\"a\") @reason(\"\") permit {scope};")), PolicyError::Nameless { .. }));
    let twice = format!("@id(\"a\") @reason(\"b\") permit {scope};").repeat(2);
    assert!(matches!(refused(&twice), PolicyError::Nameless { .. }));
    assert!(matches!(refused("permit (principal"), PolicyError::Syntax { .. }));
    let template = "@id(\"a\") @reason(\"b\") permit (principal == ?principal, action, resource);";
    assert!(matches!(refused(template), PolicyError::Syntax { .. }));
    // Against the schema: an attribute and a type it does not know, and a policy that can never apply.
    for condition in ["principal.colour == 1", "resource == Camera::\"1\"", "false"] {
        let text = format!("@id(\"a\") @reason(\"b\") permit {scope} when {{ {condition} }};");
        assert!(matches!(refused(&text), PolicyError::Invalid(_)), "{condition}");
    }
}

fn asks(policies: &Policies, action: &str, facts: &Entities) -> bool {
    let uid = |text: &str| text.parse::<EntityUid>().unwrap();
    let key = RestrictedExpression::new_entity_uid(uid("Key::\"1\""));
    policies.allow(
        Question {
            principal: uid("Seat::\"1\""),
            action: uid(action),
            resource: uid("Vm::\"1\""),
            context: vec![("key", key)],
        },
        facts,
    )
}

#[test]
fn a_forbid_that_cannot_be_evaluated_denies_and_is_not_skipped() {
    let permit = "@id(\"a\") @reason(\"b\") permit (principal, action, resource);";
    let forbid = "@id(\"c\") @reason(\"d\") forbid (principal, action, resource) when { principal.vm != resource };";
    let both = read(&format!("{permit}{forbid}")).unwrap();
    let seat = r#"[{"uid": {"type": "Seat", "id": "1"}, "attrs": {"vm": {"type": "Vm", "id": "1"}}, "parents": []}]"#;
    let known = Entities::from_json_str(seat, Some(both.schema())).unwrap();
    assert!(asks(&both, "Action::\"readRoster\"", &known));
    assert!(!asks(&both, "Action::\"readRoster\"", &Entities::empty()));
    assert!(asks(&read(permit).unwrap(), "Action::\"readRoster\"", &Entities::empty()));
}

#[test]
fn what_the_schema_does_not_know_is_not_asked() {
    let all = read("@id(\"a\") @reason(\"b\") permit (principal, action, resource);").unwrap();
    assert!(!asks(&all, "Action::\"readEverything\"", &Entities::empty()));
}
