//! A setting with temporary values on top.

/// A value that holds in general, and values that replace it for a while. The one that
/// was put on last holds; each can be taken off whatever else was put on since.
#[derive(Clone, Debug)]
pub(super) struct Layered<T> {
    base: T,
    layers: Vec<(u64, T)>,
}

impl<T: Copy> Layered<T> {
    /// Only the general value.
    pub(super) const fn new(base: T) -> Self {
        Self {
            base,
            layers: Vec::new(),
        }
    }

    /// The value that holds.
    pub(super) fn get(&self) -> T {
        self.layers.last().map_or(self.base, |(_, value)| *value)
    }

    /// Replaces the general value.
    pub(super) fn set_base(&mut self, base: T) {
        self.base = base;
    }

    /// Puts a value on top.
    pub(super) fn push(&mut self, key: u64, value: T) {
        self.layers.push((key, value));
    }

    /// Takes off the value that was put on under `key`.
    pub(super) fn remove(&mut self, key: u64) {
        self.layers.retain(|(known, _)| *known != key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_layer_holds_and_each_can_go_on_its_own() {
        let mut setting = Layered::new(0);
        setting.push(1, 10);
        setting.push(2, 20);
        assert_eq!(setting.get(), 20);
        setting.remove(1);
        assert_eq!(setting.get(), 20);
        setting.remove(2);
        assert_eq!(setting.get(), 0);
    }
}
