//! Why clients do not know what came of their requests.
//!
//! An unknown outcome is always true, so no checker of histories objects to it. But where nothing
//! breaks connections and nobody keeps members from answering, there is a cause each time: the
//! member said itself that nobody knows, or it has ended.

use std::future::Future;
use std::time::Duration;
use veridical_client::{CallError, Connection};
use veridical_env::Clock;
use veridical_harness::report::{Class, Finding};
use veridical_proto::native::response::Body as Answer;
use veridical_world::{Fault, ProcessId, SimClock, World};

use crate::observer::Observer;
use crate::plan::Plan;

/// A member whose connections have ended is gone after this, at the latest.
const UNTIL_GONE: Duration = Duration::from_secs(1);

/// A member answers so long after it has given a request up, at the latest.
const ANSWER_SLACK: Duration = Duration::from_secs(2);

/// Accounts for the unknown outcomes of a run.
#[derive(Clone)]
pub struct Accounts {
    world: World,
    observer: Observer,
    answers_within: Duration,
}

/// The member at the other end of a connection, as it was when that was opened.
#[derive(Clone, Copy, Debug)]
pub struct Opened {
    process: ProcessId,
    incarnation: Option<u32>,
}

impl Accounts {
    /// Of a plan, if nothing in it breaks connections of clients: the faults of plans whose service
    /// is watched are those of members.
    pub fn of(plan: &Plan, world: &World, observer: &Observer) -> Option<Self> {
        plan.service?;
        let faults = plan.faults.iter().map(|timed| &timed.fault);
        // A member that was kept from answering does so later.
        let longest_ms = faults.map(|fault| match fault {
            Fault::Crash { .. } => 0,
            lasting => lasting.duration_ms().unwrap_or(plan.heal_at_ms),
        });
        let hindered_ms = longest_ms.max().unwrap_or(0);
        let answers_ms = plan.knobs.request_timeout_ms + hindered_ms;
        Some(Self {
            world: world.clone(),
            observer: observer.clone(),
            answers_within: Duration::from_millis(answers_ms) + ANSWER_SLACK,
        })
    }

    /// A connection to the member of this process was opened.
    pub fn opened(&self, process: ProcessId) -> Opened {
        Opened {
            process,
            incarnation: self.incarnation(process),
        }
    }

    fn incarnation(&self, process: ProcessId) -> Option<u32> {
        let environment = self.world.environment(process);
        environment.map(|environment| environment.incarnation())
    }

    fn has_ended(&self, opened: Opened) -> bool {
        opened.incarnation.is_none() || self.incarnation(opened.process) != opened.incarnation
    }

    /// Its caller has given up; its answer comes all the same, unless the member has ended.
    pub async fn given_up(
        self,
        opened: Opened,
        connection: Connection,
        clock: SimClock,
        answer: impl Future<Output = Result<Answer, CallError>>,
    ) {
        let answered = tokio::select! {
            biased;
            answer = answer => Some(answer),
            () = clock.sleep(self.answers_within) => None,
        };
        match answered {
            Some(Err(CallError::Unknown(_))) => self.answered(opened, connection, clock).await,
            Some(_) => self.observer.count("unknown.given_up"),
            None if self.has_ended(opened) => self.observer.count("unknown.member_ended"),
            None => self.report(
                "request-unanswered",
                &format!("a member does not answer within {:?}", self.answers_within),
            ),
        }
    }

    /// Its caller was told that nobody knows: by the member, or because the connection is lost.
    pub async fn answered(self, opened: Opened, connection: Connection, clock: SimClock) {
        clock.sleep(UNTIL_GONE).await;
        if !connection.is_closed() {
            self.observer.count("unknown.told_by_the_member");
        } else if self.has_ended(opened) {
            self.observer.count("unknown.member_ended");
        } else {
            self.report(
                "connection-lost",
                "a member ends a connection, which nothing has broken, and goes on",
            );
        }
    }

    fn report(&self, signature: &str, text: &str) {
        self.observer
            .report(Finding::new(Class::Violation, signature, text.to_owned()));
    }
}
