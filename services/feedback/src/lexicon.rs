//! The lexicon that a free text is screened with: words by which people tell of harm, and names of products.
//!
//! It is data, one file a language, written for recall: every text is read in every language, since people write in
//! another one than their form's; spelling is folded (Unicode NFKD without marks, case folded), words match by their
//! stems, and a negation clears nothing, for "no rash at first" tells of one. A text is a candidate when it holds
//!
//! - a word of harm (`event`), of a serious outcome (`serious`), or of a situation that counts as one (`situation`:
//!   pregnancy, overdose, misuse);
//! - a word of a product that fails (`product`: no effect, quality), and what fails may be a medicine: the text names
//!   one, answers a survey about one, or holds a word of health;
//! - the name of a product and a word of health (`health`).
//!
//! Whoever reads it next is a person of safety.
//!
//! ```text
//! event.nausea: nausea*, threw up, sick to ~ stomach        stem*  *part*  ~ up to three words in between
//! ```

mod fold;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::LazyLock;

use eventstore::{digest, hex};

use fold::{Words, fold, words};

const FILES: [(&str, &str); 5] = [
    ("en", include_str!("lexicon/en.txt")),
    ("de", include_str!("lexicon/de.txt")),
    ("fr", include_str!("lexicon/fr.txt")),
    ("es", include_str!("lexicon/es.txt")),
    ("it", include_str!("lexicon/it.txt")),
];
/// Codes that make a candidate by themselves.
const HARM: [&str; 3] = ["event.", "serious.", "situation."];
/// Codes that make a candidate where it may be about a medicine.
const FAILS: &str = "product.";
const HEALTH: &str = "health.";
/// Words that `~` stands for, at most.
const GAP: usize = 3;
/// From this many letters on, a name of a product counts with one letter wrong.
const MISSPELT: usize = 6;

/// The lexicon of this release.
pub(crate) static LEXICON: LazyLock<Lexicon> = LazyLock::new(Lexicon::load);

/// A name of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Product {
    pub(crate) id: String,
    pub(crate) name: String,
}

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Codes of the lexicon, never the text's own words.
    pub(crate) hits: Vec<String>,
    /// Ids of products.
    pub(crate) products: Vec<String>,
}

impl Found {
    /// Whether it may tell of an adverse event. `of_product`: the text answers a survey about a product.
    pub(crate) fn is_alarming(&self, of_product: bool) -> bool {
        let holds = |kind: &str| self.hits.iter().any(|it| it.starts_with(kind));
        let (named, health) = (!self.products.is_empty(), holds(HEALTH));
        HARM.into_iter().any(holds)
            || (holds(FAILS) && (named || of_product || health))
            || (named && health)
    }
}

/// The words of all languages.
pub(crate) struct Lexicon {
    version: String,
    patterns: Vec<Pattern>,
    /// Patterns by their first word, if that is matched whole, by its beginning, or by a part of it.
    whole: HashMap<String, Vec<usize>>,
    beginning: HashMap<String, Vec<usize>>,
    part: Vec<(String, usize)>,
}

/// Words in order.
struct Pattern {
    code: &'static str,
    words: Vec<Word>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Whole(String),
    Beginning(String),
    End(String),
    Part(String),
    Gap,
}

impl Word {
    fn read(text: &str) -> Self {
        if text == "~" {
            return Self::Gap;
        }
        let (open, begins) = (text.starts_with('*'), text.ends_with('*'));
        let folded = fold(text.trim_matches('*'));
        match (open, begins) {
            (false, false) => Self::Whole(folded),
            (false, true) => Self::Beginning(folded),
            (true, false) => Self::End(folded),
            (true, true) => Self::Part(folded),
        }
    }

    fn matches(&self, word: &str) -> bool {
        match self {
            Self::Whole(it) => word == it,
            Self::Beginning(it) => word.starts_with(it.as_str()),
            Self::End(it) => word.ends_with(it.as_str()),
            Self::Part(it) => word.contains(it.as_str()),
            Self::Gap => false,
        }
    }
}

impl Lexicon {
    fn load() -> Self {
        let mut lexicon = Self {
            version: version(),
            patterns: Vec::new(),
            whole: HashMap::new(),
            beginning: HashMap::new(),
            part: Vec::new(),
        };
        for (language, file) in FILES {
            for line in file.lines().filter(|it| !it.starts_with('#')) {
                let Some((code, patterns)) = line.split_once(": ") else { continue };
                for text in patterns.split(", ") {
                    for spelling in fold::spellings(language, text) {
                        lexicon.add(code, &spelling);
                    }
                }
            }
        }
        lexicon
    }

    fn add(&mut self, code: &'static str, text: &str) {
        // An apostrophe ends a word, in the lexicon as in a text.
        let split = text.replace(['\'', '’'], " ");
        let read: Vec<_> = split.split_whitespace().map(Word::read).collect();
        let index = self.patterns.len();
        match read.first() {
            Some(Word::Whole(it)) => self.whole.entry(it.clone()).or_default().push(index),
            Some(Word::Beginning(it)) => self.beginning.entry(it.clone()).or_default().push(index),
            Some(Word::End(it) | Word::Part(it)) => self.part.push((it.clone(), index)),
            Some(Word::Gap) | None => return,
        }
        self.patterns.push(Pattern { code, words: read });
    }

    /// Names what was applied: the hash of its data.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Reads a text.
    pub(crate) fn read(&self, text: &str, products: &[Product]) -> Found {
        let words = words(text);
        let mut hits = BTreeSet::new();
        for (at, word) in words.iter().enumerate() {
            for index in self.beginning_with(word) {
                let pattern = &self.patterns[index];
                if !hits.contains(pattern.code) && follows(&pattern.words, &words[at..]) {
                    hits.insert(pattern.code);
                }
            }
        }
        Found {
            hits: hits.into_iter().map(str::to_owned).collect(),
            products: named(&words, products),
        }
    }

    /// Patterns whose first word may match.
    fn beginning_with<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        let whole = self.whole.get(word).into_iter().flatten().copied();
        let ends = word.char_indices().map(|(at, it)| at + it.len_utf8());
        let begun = ends.filter_map(|end| self.beginning.get(&word[..end])).flatten().copied();
        let held = self.part.iter().filter(|it| word.contains(it.0.as_str())).map(|it| it.1);
        whole.chain(begun).chain(held)
    }
}

/// Whether the words begin with the pattern.
fn follows(pattern: &[Word], words: &[String]) -> bool {
    match (pattern.split_first(), words.split_first()) {
        (None, _) => true,
        (Some((Word::Gap, rest)), _) => {
            (0..=GAP.min(words.len())).any(|skipped| follows(rest, &words[skipped..]))
        }
        (Some((first, rest)), Some((word, words))) => first.matches(word) && follows(rest, words),
        (Some(_), None) => false,
    }
}

/// Products whose names stand in the text, with one letter wrong at most where the name is long.
fn named(words: &Words, products: &[Product]) -> Vec<String> {
    let mut names: BTreeMap<Words, BTreeSet<&str>> = BTreeMap::new();
    for product in products {
        let name = fold::words(&product.name);
        if !name.is_empty() {
            names.entry(name).or_default().insert(&product.id);
        }
    }
    let stands = |name: &Words| {
        words.windows(name.len()).any(|it| it.iter().zip(name).all(|(word, name)| is(word, name)))
    };
    let found: BTreeSet<&str> =
        names.iter().filter(|(name, _)| stands(name)).flat_map(|(_, ids)| ids).copied().collect();
    found.into_iter().map(str::to_owned).collect()
}

/// Whether a word is a name: as it stands, with a simple ending, or with a letter wrong.
fn is(word: &str, name: &str) -> bool {
    let ending = word.strip_prefix(name);
    let long = name.chars().count() >= MISSPELT;
    ending.is_some_and(|it| matches!(it, "" | "s" | "es" | "n"))
        || (long && fold::close(word, name))
}

/// Versions are told apart by the data itself.
fn version() -> String {
    let all = FILES.map(|(_, file)| file).concat();
    hex(&digest(all.as_bytes()))[..12].to_owned()
}

#[cfg(test)]
mod tests;
