// SPDX-License-Identifier: MIT OR Apache-2.0
//! The keys that `run` keeps for itself: Ctrl-A and one more. Everything else goes to the console.

/// The key that begins a command to the tool.
const PREFIX: u8 = 0x01;

/// What was typed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Key {
    /// Bytes for the console.
    Text(Vec<u8>),
    /// Show the console of the node with this number.
    Node(u16),
    /// Show the console of the next node.
    Next,
    /// End the cluster and the tool.
    Quit,
    /// Show the keys.
    Help,
}

/// Splits what was typed; a prefix may come in one piece and its key in the next.
#[derive(Default)]
pub struct Keys {
    prefixed: bool,
}

impl Keys {
    /// Takes what was typed.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Key> {
        let (mut keys, mut text) = (Vec::new(), Vec::new());
        for &byte in bytes {
            if !self.prefixed && byte == PREFIX {
                self.prefixed = true;
                continue;
            }
            if !std::mem::take(&mut self.prefixed) {
                text.push(byte);
                continue;
            }
            let key = match byte {
                b'1'..=b'9' => Key::Node(u16::from(byte - b'0')),
                b'n' => Key::Next,
                b'q' | b'x' => Key::Quit,
                b'a' | PREFIX => {
                    text.push(PREFIX);
                    continue;
                }
                _ => Key::Help,
            };
            flush(&mut text, &mut keys);
            keys.push(key);
        }
        flush(&mut text, &mut keys);
        keys
    }
}

fn flush(text: &mut Vec<u8>, keys: &mut Vec<Key>) {
    if !text.is_empty() {
        keys.push(Key::Text(std::mem::take(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Key {
        Key::Text(bytes.to_vec())
    }

    #[test]
    fn plain_text_goes_through() {
        assert_eq!(Keys::default().feed(b"ls\r\x03"), [text(b"ls\r\x03")]);
    }

    #[test]
    fn prefix_and_key_make_a_command() {
        let keys = Keys::default().feed(b"a\x012b\x01n\x01q\x01?");
        assert_eq!(keys, [text(b"a"), Key::Node(2), text(b"b"), Key::Next, Key::Quit, Key::Help]);
    }

    #[test]
    fn prefix_in_one_piece_and_key_in_the_next() {
        let mut keys = Keys::default();
        assert!(keys.feed(b"\x01").is_empty());
        assert_eq!(keys.feed(b"3"), [Key::Node(3)]);
    }

    #[test]
    fn prefix_itself_can_be_typed() {
        assert_eq!(Keys::default().feed(b"\x01a\x01\x01"), [text(b"\x01\x01")]);
    }
}
