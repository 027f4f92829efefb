//! The policies of `policies/access`, compiled in: read once, validated strictly, asked one question at a time.
//!
//! What does not belong: the facts a question is judged on (entities), which questions there are (decide). Invariants:
//! denied unless a policy permits and none forbids; a policy that cannot be evaluated denies, whatever the others say;
//! what does not fit the schema is not asked. Each policy has an `@id` and a `@reason`; the properties that hold for all
//! of them together stand in `policies/access/properties` and are proved in `tests/proofs/policy_proofs.rs`.

use cedar_policy::{
    Authorizer, Context, Decision, Entities, EntityUid, PolicyId, PolicySet, Request, RestrictedExpression, Schema,
    ValidationMode, Validator,
};
use std::sync::LazyLock;

const SCHEMA: &str = include_str!("../../policies/access/schema.cedarschema");

/// Every file of policies, by its name.
pub const FILES: [(&str, &str); 4] = [
    ("pictures.cedar", include_str!("../../policies/access/pictures.cedar")),
    ("reading.cedar", include_str!("../../policies/access/reading.cedar")),
    ("inviting.cedar", include_str!("../../policies/access/inviting.cedar")),
    ("never.cedar", include_str!("../../policies/access/never.cedar")),
];

static POLICIES: LazyLock<Policies> = LazyLock::new(|| {
    Policies::read(SCHEMA, &FILES).unwrap_or_else(|error| panic!("this build carries bad policies: {error}"))
});

/// A schema, and policies that fit it.
pub struct Policies {
    schema: Schema,
    set: PolicySet,
    authorizer: Authorizer,
}

/// Policies that are none. Shipped ones are read by the tests of every build.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// Not Cedar.
    #[error("{file}: {why}")]
    Syntax {
        /// Where.
        file: String,
        /// The parser's word.
        why: String,
    },
    /// A policy without name or reason, or two of one name.
    #[error("{file}: every policy needs an @id of its own and a @reason: {policy}")]
    Nameless {
        /// Where.
        file: String,
        /// The policy.
        policy: String,
    },
    /// The policies do not fit the schema.
    #[error("the policies do not fit the schema: {0}")]
    Invalid(String),
}

impl Policies {
    /// Reads a schema and files of policies (name, text), and holds one to the other.
    ///
    /// # Errors
    /// [`PolicyError`].
    pub fn read(schema: &str, files: &[(&str, &str)]) -> Result<Self, PolicyError> {
        let syntax = |file: &str, why: String| PolicyError::Syntax { file: file.to_owned(), why };
        let (schema, warnings) =
            Schema::from_cedarschema_str(schema).map_err(|error| syntax("schema", error.to_string()))?;
        if let Some(warning) = { warnings }.next() {
            return Err(syntax("schema", warning.to_string()));
        }
        let mut set = PolicySet::new();
        for (file, text) in files {
            let read: PolicySet = text.parse().map_err(|error| syntax(file, format!("{error}")))?;
            for policy in read.policies() {
                let nameless = || PolicyError::Nameless { file: (*file).to_owned(), policy: policy.to_string() };
                let id = policy.annotation("id").filter(|id| !id.is_empty()).ok_or_else(nameless)?;
                policy.annotation("reason").filter(|reason| !reason.is_empty()).ok_or_else(nameless)?;
                set.add(policy.new_id(PolicyId::new(id))).map_err(|_| nameless())?;
            }
            if read.num_of_templates() > 0 {
                return Err(syntax(file, "templates are not used".to_owned()));
            }
        }
        let found = Validator::new(schema.clone()).validate(&set, ValidationMode::Strict);
        if !found.validation_passed_without_warnings() {
            return Err(PolicyError::Invalid(found.to_string()));
        }
        Ok(Self { schema, set, authorizer: Authorizer::new() })
    }

    /// The shipped policies.
    #[must_use]
    pub fn shipped() -> &'static Self {
        &POLICIES
    }

    /// The schema.
    #[must_use]
    pub const fn schema(&self) -> &Schema {
        &self.schema
    }

    /// The policies, by their `@id`.
    #[must_use]
    pub const fn set(&self) -> &PolicySet {
        &self.set
    }

    /// Asks. What the schema does not know is denied like everything else.
    pub(crate) fn allow(&self, question: Question, facts: &Entities) -> bool {
        let Question { principal, action, resource, context } = question;
        let context = context.into_iter().map(|(name, value)| (name.to_owned(), value));
        let Ok(context) = Context::from_pairs(context) else { return false };
        let Ok(request) = Request::new(principal, action, resource, context, Some(&self.schema)) else { return false };
        let answer = self.authorizer.is_authorized(&request, &self.set, facts);
        // Cedar skips a policy whose evaluation fails. Skipping a `forbid` would be to allow.
        answer.decision() == Decision::Allow && answer.diagnostics().errors().next().is_none()
    }
}

/// One question: may this principal do this to this, in this context?
pub(crate) struct Question {
    pub(crate) principal: EntityUid,
    pub(crate) action: EntityUid,
    pub(crate) resource: EntityUid,
    pub(crate) context: Vec<(&'static str, RestrictedExpression)>,
}

/// Reads the policies, and makes libc look up the bounds of this thread's stack, which Cedar watches and which needs a
/// file of /proc. To be called once before the sandbox is put on, by the thread that will decide.
pub fn prepare() {
    let made_up = |uid: &str| uid.parse::<EntityUid>().expect("the text of an entity");
    let key = RestrictedExpression::new_entity_uid(made_up("Key::\"\""));
    let question = Question {
        principal: made_up("ClaimKey::\"\""),
        action: made_up("Action::\"readRoster\""),
        resource: made_up("Vm::\"\""),
        context: vec![("key", key)],
    };
    // Nobody, nowhere: the answer is no.
    Policies::shipped().allow(question, &Entities::empty());
}

#[cfg(test)]
#[path = "tests_policy.rs"]
mod tests;
