//! The majority is lost for good, and the last member goes on alone.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use veridical_harness::report::{Class, Finding};
use veridical_node::Node;
use veridical_raft::{LogIndex, Role};
use veridical_world::{SimEnvironment, World};

use crate::cluster::{Cluster, LostMember};
use crate::observer::Observer;
use crate::plan::{LostMajority, OldMember, Plan};

/// How often it is looked at what the members do.
const LOOK_PERIOD: Duration = Duration::from_millis(10);

/// So many election timeouts after it was told to, a member that is alone serves.
const ELECTION_TIMEOUTS_MAX: u32 = 10;

/// What all members had when the majority was lost.
#[derive(Clone, Copy)]
struct Had {
    applied: LogIndex,
    revision: i64,
}

/// Takes the majority away, and lets the last member go on.
pub struct Survivor {
    world: World,
    cluster: Cluster,
    observer: Observer,
    plan: Arc<Plan>,
    lost: LostMajority,
}

impl Survivor {
    /// Of a plan in which the majority is lost.
    pub fn new(
        world: World,
        cluster: Cluster,
        observer: Observer,
        plan: Arc<Plan>,
        lost: LostMajority,
    ) -> Self {
        Self {
            world,
            cluster,
            observer,
            plan,
            lost,
        }
    }

    /// Does what is planned, and reports what is not as it has to be.
    pub async fn run(self) {
        if let Err(finding) = self.go_on().await {
            self.observer.report(finding);
        }
    }

    async fn go_on(&self) -> Result<(), Finding> {
        self.wait_until(self.lost.at_ms).await;
        // Nothing is under way that only the others have.
        while !self.cluster.is_level() {
            self.world.sleep(LOOK_PERIOD).await;
        }
        let survivor = self.node(self.lost.survivor);
        let survivor = survivor.expect("all members run when they are level");
        let had = Had {
            applied: survivor.reader().applied_index(),
            revision: survivor.reader().revision(),
        };
        let lost = self.cluster.lose_all_but(self.lost.survivor).await;
        self.observer.count("forced.majority_lost");
        self.wait_until(self.lost.alone_at_ms).await;
        self.cluster.force(self.lost.survivor).await;
        self.serves_alone(had).await?;
        self.observer.count("forced.member_went_on_alone");
        if let Some(old_member) = self.lost.old_member {
            let is_it = |member: &LostMember| member.site == old_member.site;
            let member = lost.into_iter().find(is_it);
            let member = member.expect("it was lost with the others");
            self.has_no_say(old_member, member, had).await?;
        }
        Ok(())
    }

    async fn wait_until(&self, at_ms: u64) {
        self.observer.wait_until(Duration::from_millis(at_ms)).await;
    }

    fn node(&self, site: u32) -> Option<Node<SimEnvironment>> {
        let mut running = self.cluster.running().into_iter();
        running.find_map(|(number, node)| (number == site).then_some(node))
    }

    /// The last member is the only one, leads, and has everything that it had.
    async fn serves_alone(&self, had: Had) -> Result<(), Finding> {
        let election_timeout = Duration::from_millis(self.plan.knobs.election_timeout_ms);
        let until = self.world.now() + election_timeout * ELECTION_TIMEOUTS_MAX;
        loop {
            self.world.sleep(LOOK_PERIOD).await;
            let Some(node) = self.node(self.lost.survivor) else {
                continue;
            };
            let directory = node.directory();
            let members: BTreeSet<u64> = directory.iter().map(|(id, _)| id).collect();
            let is_alone = members == BTreeSet::from([node.member_id()]);
            let leads = node.raft_status().role == Role::Leader;
            if is_alone && leads {
                return self.check_state(&node, had);
            }
            if self.world.now() > until {
                let text = format!(
                    "the member that goes on alone takes {members:x?} for the members{}",
                    self.cluster.describe()
                );
                return Err(match is_alone {
                    true => Finding::new(Class::Liveness, "forced-member-does-not-lead", text),
                    false => violation("forced-members-differ", text),
                });
            }
        }
    }

    fn check_state(&self, node: &Node<SimEnvironment>, had: Had) -> Result<(), Finding> {
        let reader = node.reader();
        if reader.applied_index() < had.applied || reader.revision() < had.revision {
            return Err(violation(
                "forced-member-forgot",
                format!(
                    "the member that goes on alone is at revision {}, and had {}",
                    reader.revision(),
                    had.revision
                ),
            ));
        }
        Ok(())
    }

    /// An old member comes back for a while. It is nobody's leader, hears nothing of what came
    /// after it, and moves nobody to another term.
    async fn has_no_say(
        &self,
        old_member: OldMember,
        member: LostMember,
        had: Had,
    ) -> Result<(), Finding> {
        self.wait_until(old_member.at_ms).await;
        let term = self.cluster.term();
        self.cluster.bring_back(member);
        self.observer.count("forced.old_member_came_back");
        let until = self.world.now() + Duration::from_millis(old_member.for_ms);
        while self.world.now() < until {
            self.world.sleep(LOOK_PERIOD).await;
            let Some(node) = self.node(old_member.site) else {
                continue;
            };
            if node.raft_status().role == Role::Leader {
                return Err(violation(
                    "lost-member-leads",
                    format!(
                        "member {:x} was given up, and leads term {}",
                        node.member_id(),
                        node.raft_status().term
                    ),
                ));
            }
            let applied = node.reader().applied_index();
            if applied > had.applied {
                return Err(violation(
                    "lost-member-follows",
                    format!(
                        "member {:x} was given up when entry {} was applied, and applies {applied}",
                        node.member_id(),
                        had.applied
                    ),
                ));
            }
        }
        self.cluster.vacate(old_member.site).await;
        if self.cluster.term() != term {
            return Err(violation(
                "lost-member-was-heard",
                format!(
                    "a member that was given up came back in term {term}, and now it is term {}",
                    self.cluster.term()
                ),
            ));
        }
        Ok(())
    }
}

fn violation(signature: &str, text: String) -> Finding {
    Finding::new(Class::Violation, signature, text)
}
