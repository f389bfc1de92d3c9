//! What an event constrains: appends behind what was shown, reads behind what they show.

use veridical_histories::OperationId;
use veridical_histories::object::Value;

use super::graph::{NodeId, Reason};
use super::keys::{Element, Stage};
use super::transaction::{Read, Wrong, appends};
use super::{ListChecker, OpenTransaction};

impl ListChecker {
    /// The transaction in the graph, where it may be already.
    pub(super) fn insert(&mut self, op: OperationId, open: OpenTransaction) -> NodeId {
        match self.graph.find(op) {
            Some(node) => node,
            None => {
                let called = (open.client, open.call_event, open.call_ns);
                let node = self.graph.insert(op, called, open.request);
                let most = &mut self.statistics.configurations_max;
                *most = self.graph.len().max(*most);
                node
            }
        }
    }

    /// The appends of a transaction have taken effect, behind all that were shown.
    pub(super) fn take_effect(&mut self, node: NodeId) -> Result<(), Wrong> {
        let request = self.graph.node(node).request.clone();
        let mut constraints: Vec<(NodeId, Reason)> = Vec::new();
        for (key, value) in appends(&request) {
            let list = self.lists.get_mut(key).expect("its call made the list");
            let append = list.appends.get_mut(value).expect("its call noted it");
            if append.stage != Stage::Called {
                continue;
            }
            append.stage = Stage::Effective;
            self.graph.node_mut(node).unseen_appends += 1;
            match list.unseen.iter_mut().find(|(unseen, _)| *unseen == node) {
                Some((_, appends)) => *appends += 1,
                None => list.unseen.push((node, 1)),
            }
            if let Some(owner) = list.last_owner().and_then(|op| self.graph.find(op)) {
                constraints.push((owner, Reason::AppendedBehind(key.clone())));
            }
            let readers = list.last_readers.iter();
            constraints.extend(readers.map(|reader| (*reader, Reason::ReadWithout(key.clone()))));
        }
        for (before, reason) in constraints {
            self.graph.constrain(before, node, &reason)?;
        }
        Ok(())
    }

    pub(super) fn take_read(
        &mut self,
        now: u64,
        reader: NodeId,
        op: OperationId,
        read: &Read,
    ) -> Result<(), Wrong> {
        let key = &read.key;
        let wrong = |expected: String| {
            let got = Value::List(read.list.clone().into()).to_string();
            Err(Wrong::Answer(key.clone(), expected, got))
        };
        let shown = &self.lists.entry(key.clone()).or_default().shown;
        let common = shown.len().min(read.list.len());
        let agrees = shown
            .iter()
            .zip(&read.list)
            .all(|(element, value)| element.value == *value);
        if !agrees {
            let known: Vec<Value> = shown[..common]
                .iter()
                .map(|element| element.value.clone())
                .collect();
            let witness = shown[common - 1].shown_by;
            let known = Value::List(known.into());
            return wrong(format!("a list that begins as {witness} read it, {known}"));
        }
        for value in &read.list[common..] {
            let list = self.lists.get_mut(key).expect("made above");
            let owner = match list.appends.get(value) {
                None => return wrong(format!("only what was appended; nobody appended {value}")),
                Some(append) if append.stage == Stage::Seen => {
                    return wrong(format!("{value} once"));
                }
                Some(append) if append.op == op => {
                    return wrong(format!("nothing that {op} appended afterwards"));
                }
                Some(append) => append.op,
            };
            self.show(now, key, value, owner, op)?;
        }
        let list = &self.lists[key];
        // An append of its own that others have seen may stand before what it read.
        let own_was_seen = appends(&self.graph.node(reader).request)
            .iter()
            .any(|(of, value)| *of == key && list.appends[*value].stage == Stage::Seen);
        let shown = &list.shown[..read.list.len()];
        if own_was_seen && shown.iter().any(|element| element.op == op) {
            return wrong(format!("nothing that {op} appended afterwards"));
        }
        let owner_at = |place: usize| list.shown.get(place).map(|element| element.op);
        let length = read.list.len();
        if let Some(owner) = length.checked_sub(1).and_then(owner_at)
            && let Some(owner) = self.graph.find(owner)
        {
            self.graph
                .constrain(owner, reader, &Reason::ReadFrom(key.clone()))?;
        }
        let without = Reason::ReadWithout(key.clone());
        match owner_at(length) {
            Some(next) => match self.graph.find(next) {
                Some(next) => self.graph.constrain(reader, next, &without)?,
                // It closed before this one was called.
                None => {
                    let value = &list.shown[length].value;
                    return wrong(format!(
                        "{value} too, which {next} had appended before {op} was called"
                    ));
                }
            },
            None => {
                for (unseen, _) in &list.unseen {
                    self.graph.constrain(reader, *unseen, &without)?;
                }
                let list = self.lists.get_mut(key).expect("made above");
                list.last_readers.push(reader);
            }
        }
        Ok(())
    }

    /// A read shows one more element of a list.
    fn show(
        &mut self,
        now: u64,
        key: &Value,
        value: &Value,
        owner: OperationId,
        reader: OperationId,
    ) -> Result<(), Wrong> {
        if self.given_up.contains(&owner) {
            return Err(Wrong::Late(owner));
        }
        let is_new = self.graph.find(owner).is_none();
        if is_new {
            // Its outcome is open or unknown: it took effect, as everybody can see.
            let open = match self.lost.remove(&owner) {
                Some(lost) => lost,
                None => {
                    let open = &self.open[&owner];
                    OpenTransaction {
                        request: open.request.clone(),
                        ..*open
                    }
                }
            };
            let was_lost = !self.open.contains_key(&owner);
            let node = self.insert(owner, open);
            if was_lost {
                self.follow_forgotten(node)?;
            }
        }
        let node = self.graph.find(owner).expect("inserted above");
        // Also where it was in the graph only because it is returning just now.
        self.take_effect(node)?;
        let order = appends(&self.graph.node(node).request)
            .iter()
            .filter(|(of, _)| *of == key)
            .position(|(_, appended)| *appended == value);
        let list = self.lists.get_mut(key).expect("it was read");
        let before = list
            .shown
            .iter()
            .rev()
            .take_while(|element| element.op == owner)
            .count();
        if order != Some(before) {
            let expected = format!("the appends of {owner} in its order, next to each other");
            return Err(Wrong::Answer(
                key.clone(),
                expected,
                format!("{value} out of place"),
            ));
        }
        let previous = list.last_owner();
        list.shown.push(Element {
            value: value.clone(),
            op: owner,
            shown_by: reader,
        });
        list.last_readers.clear();
        list.seen(node);
        list.appends.get_mut(value).expect("found before").stage = Stage::Seen;
        let behind = Reason::AppendedBehind(key.clone());
        let others: Vec<NodeId> = list.unseen.iter().map(|(unseen, _)| *unseen).collect();
        if let Some(previous) = previous.and_then(|previous| self.graph.find(previous)) {
            self.graph.constrain(previous, node, &behind)?;
        }
        for other in others {
            self.graph.constrain(node, other, &behind)?;
        }
        let seen = self.graph.node_mut(node);
        seen.unseen_appends -= 1;
        if seen.unseen_appends == 0 && !self.open.contains_key(&owner) && seen.end.is_none() {
            // Nothing more will be heard of it.
            self.waiting.push_back((now, node));
        }
        if self.graph.node(node).unseen_appends == 0 && self.unseen.remove(&node) {
            self.drop_node(node);
        }
        Ok(())
    }

    /// A lost transaction turns out to have taken effect: behind all that is forgotten
    /// and has to do with its lists, and so behind what came before that.
    fn follow_forgotten(&mut self, node: NodeId) -> Result<(), Wrong> {
        let request = self.graph.node(node).request.clone();
        for (key, _) in appends(&request) {
            let call = self.lists[key].last_forgotten_call;
            self.graph.follow_returns_before(node, call);
            for before in self.graph.in_front_of(key) {
                self.graph.constrain(before, node, &Reason::Forgotten)?;
            }
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, op: OperationId, open: &OpenTransaction) -> Result<(), Wrong> {
        self.given_up.remove(&op);
        for (key, value) in appends(&open.request) {
            let Some(list) = self.lists.get_mut(key) else {
                continue;
            };
            match list.appends.get(value).map(|append| append.stage) {
                Some(Stage::Called) => {
                    list.appends.remove(value);
                }
                Some(Stage::Effective | Stage::Seen) => {
                    let expected = format!("nothing of {op}, which failed");
                    let got = format!("an append of it was read: {key} got {value}");
                    return Err(Wrong::Answer(key.clone(), expected, got));
                }
                None => {}
            }
        }
        Ok(())
    }
}
