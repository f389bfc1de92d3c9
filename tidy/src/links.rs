//! What a Markdown document mentions: code between backticks, fenced lines, links.

/// Something that a document mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The line, from 1 on.
    pub line: usize,
    /// In which way.
    pub kind: Kind,
    /// What stands there.
    pub text: String,
}

/// In which way something is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Between backticks.
    Code,
    /// A line between fences; lines that end with a backslash are put together.
    Fenced,
    /// The target of a link.
    Link,
}

/// All mentions of a document, in order.
pub fn mentions(text: &str) -> Vec<Mention> {
    let mut mentions = Vec::new();
    let mut paragraph = String::new();
    let mut paragraph_line = 1;
    let mut is_fenced = false;
    let mut continued: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let number = number + 1;
        let is_fence = line.trim_start().starts_with("```");
        if is_fenced && !is_fence {
            let (first, mut command) = continued.take().unwrap_or((number, String::new()));
            match line.strip_suffix('\\') {
                Some(part) => {
                    command.push_str(part);
                    continued = Some((first, command));
                }
                None => {
                    command.push_str(line);
                    mentions.push(mention(first, Kind::Fenced, &command));
                }
            }
            continue;
        }
        if is_fence || line.is_empty() {
            scan(&paragraph, paragraph_line, &mut mentions);
            paragraph.clear();
            paragraph_line = number + 1;
            is_fenced ^= is_fence;
        } else {
            paragraph.push_str(line);
            paragraph.push('\n');
        }
    }
    scan(&paragraph, paragraph_line, &mut mentions);
    mentions
}

/// The name under which a link finds a heading.
pub fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|c| match c {
        ' ' => Some('-'),
        '-' | '_' => Some(c),
        _ => c.is_alphanumeric().then(|| c.to_ascii_lowercase()),
    });
    kept.collect()
}

fn mention(line: usize, kind: Kind, text: &str) -> Mention {
    Mention {
        line,
        kind,
        text: text.to_owned(),
    }
}

/// Looks for code and links in one paragraph. Both may begin in one line and end in the next.
fn scan(paragraph: &str, first_line: usize, mentions: &mut Vec<Mention>) {
    let mut line = first_line;
    let mut prose = String::new();
    for (number, part) in paragraph.split('`').enumerate() {
        if number % 2 == 1 {
            mentions.push(mention(line, Kind::Code, &part.replace('\n', " ")));
            prose.push('`');
        } else {
            prose.push_str(part);
        }
        let lines = part.matches('\n').count();
        line += lines;
        if number % 2 == 1 {
            prose.extend(std::iter::repeat_n('\n', lines));
        }
    }
    for (at, _) in prose.match_indices("](") {
        let behind = &prose[at + 2..];
        let Some((target, _)) = behind.split_once(')') else {
            continue;
        };
        let line = first_line + prose[..at].matches('\n').count();
        mentions.push(mention(line, Kind::Link, target));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_links_and_fenced_lines_are_found_with_their_lines() {
        let text = "one `a` [two](b.md)\nand `c\nd`\n\n```\n$ x \\\n  --y\nz\n```\n[e](f)\n";
        let found: Vec<(usize, Kind, String)> = mentions(text)
            .into_iter()
            .map(|mention| (mention.line, mention.kind, mention.text))
            .collect();
        let expected = [
            (1, Kind::Code, "a"),
            (2, Kind::Code, "c d"),
            (1, Kind::Link, "b.md"),
            (6, Kind::Fenced, "$ x   --y"),
            (8, Kind::Fenced, "z"),
            (10, Kind::Link, "f"),
        ];
        let expected: Vec<_> = expected
            .into_iter()
            .map(|(line, kind, text)| (line, kind, text.to_owned()))
            .collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn an_anchor_has_hyphens_and_no_signs() {
        assert_eq!(anchor(" Would it notice?"), "would-it-notice");
        assert_eq!(anchor("A `Fault`, twice"), "a-fault-twice");
    }
}
