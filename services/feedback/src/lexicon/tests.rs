use proptest::prelude::*;

use super::*;

fn cardiol() -> Vec<Product> {
    vec![
        Product { id: "cardiol".into(), name: "Cardiol Forte®".into() },
        Product { id: "dermix".into(), name: "Dermix".into() },
    ]
}

fn read(text: &str) -> Found {
    LEXICON.read(text, &cardiol())
}

#[track_caller]
fn alarming(text: &str) {
    let found = read(text);
    assert!(found.is_alarming(false), "{text}: {found:?}");
}

#[track_caller]
fn clear(text: &str) {
    let found = read(text);
    assert!(!found.is_alarming(false), "{text}: {found:?}");
}

#[test]
fn people_tell_of_harm_in_many_ways() {
    for text in [
        "I threw up all night",
        "No rash at first, then my whole arm itched.",
        "Felt dizzy and nearly passed out",
        "it made me really sick",
        "SHE ENDED UP IN THE HOSPITAL",
        "I'm pregnant and still using it",
        "took double dose by mistake",
        "could not really sleep anymore",
        "My hair is falling out",
        "Mir war danach ziemlich schlecht und ich musste mich übergeben",
        "UEBELKEIT und Kopfschmerzen",
        "starke Ru\u{308}ckenschmerzen nach der Spritze",
        "Seitdem Hautausschlag.",
        "Mein Vater ist daran gestorben",
        "J'ai eu des nausées et mal à la tête",
        "Ma mère a été hospitalisée",
        "perdu beaucoup de cheveux",
        "Tuve un sarpullido y mareos",
        "me duele la cabeza desde entonces",
        "Ho avuto un'eruzione cutanea e vertigini",
        "mi gira la testa e ho la febbre",
        "nau\u{ad}sea",
        "it kept my little one up all night",
        "he hasn't slept since",
        "my face becomes extremely oily",
        "ｎａｕｓｅａ",
    ] {
        alarming(text);
    }
}

#[test]
fn talk_of_business_is_clear() {
    for text in [
        "",
        "Thank you, great service!",
        "The parcel came a day late and the invoice was missing.",
        "Where can I download the brochure?",
        "Die Lieferung war pünktlich, danke. Er hat dies sofort erledigt.",
        "Die Rechnung fehlte, ich suche sie noch.",
        "Très bon service, merci beaucoup.",
        "Muy buen servicio, gracias",
        "Ottimo servizio, grazie, lo consiglio",
        "The portal does not work in my browser",
        "God bless you, what a blessing",
        "I asked the school psychologist for the brochure",
        "2 days ago I ordered 10 boxes, number 4711, and then heard nothing",
        "Please call my sister, her number is in your records. The page renders slowly.",
        "Und dann war der Preis höher als auf der Website, aber das habt ihr schnell gelöst.",
        "Ich habe eine Beschwerde über die Lieferung: zwei Kartons fehlten, einer war nass.",
        "Il s'agit de ma commande du mois dernier, le bouton de paiement ne répond plus.",
        "Je n'ai pas reçu la facture, merci de me la renvoyer avant la fin du mois.",
        "Olvidé la contraseña y la caja llegó dañada; por lo demás, todo bien.",
        "Ho dimenticato la password. Vi ringrazio, a febbraio ordinerò di nuovo.",
        "Il pacco è arrivato con due giorni di ritardo e mancava il documento di trasporto.",
    ] {
        clear(text);
    }
}

#[test]
fn a_product_and_a_word_of_health_make_a_candidate() {
    clear("When is Cardiol Forte back on sale?");
    clear("My doctor was friendly");
    alarming("Since my doctor switched me to cardiol forte");
    assert_eq!(read("Dermixs? DERMIX! dermik").products, ["dermix"]);
    assert_eq!(read("Cardiol and Forte").products, [""; 0]);
    assert_eq!(read("Cardiol-Forte").products, ["cardiol"]);
}

#[test]
fn names_count_with_one_letter_wrong() {
    for text in ["Cardoil Forte", "Cardio Forte", "Carddiol Fortes", "Kardiol forte"] {
        assert_eq!(read(text).products, ["cardiol"], "{text}");
    }
    assert_eq!(read("Caridola Forte").products, [""; 0], "two letters");
}

#[test]
fn what_fails_is_a_candidate_where_it_may_be_a_medicine() {
    let failed = read("It did not work at all");
    assert_eq!(failed.hits, ["product.no_effect"]);
    assert!(!failed.is_alarming(false));
    assert!(failed.is_alarming(true), "it answers a survey about a product");
    alarming("The tablets did not work at all");
    alarming("Dermix doesn't work");
}

#[test]
fn hits_are_codes_and_never_the_text_s_words() {
    let found = read("Nausea, vomiting, headache; I nearly died");
    let expected = ["event.headache", "event.nausea", "serious.death", "serious.life"];
    assert_eq!(found.hits, expected);
}

#[test]
fn every_language_has_every_kind() {
    for (language, file) in FILES {
        let codes: BTreeSet<_> = file.lines().filter_map(|it| it.split_once(": ")).collect();
        assert!(codes.len() >= 45, "{language}: {}", codes.len());
        for kind in HARM.into_iter().chain([FAILS, HEALTH]) {
            assert!(codes.iter().any(|it| it.0.starts_with(kind)), "{language}: {kind}");
        }
        for (code, patterns) in codes {
            let kinds = HARM.into_iter().chain([FAILS, HEALTH]);
            assert!(kinds.into_iter().any(|it| code.starts_with(it)), "{language}: {code}");
            let each = patterns.split(", ").all(|it| !it.trim().is_empty() && it != "*");
            assert!(each, "{language}: {code} has an empty pattern");
        }
    }
}

#[test]
fn another_lexicon_has_another_version() {
    assert_eq!(LEXICON.version().len(), 12);
    assert_eq!(LEXICON.version(), Lexicon::load().version());
}

#[test]
fn words_that_differ_by_a_letter_are_close() {
    for (one, other) in
        [("abc", "abc"), ("abc", "abd"), ("abc", "ab"), ("bc", "abc"), ("acb", "abc")]
    {
        assert!(fold::close(one, other), "{one} {other}");
    }
    for (one, other) in [("abc", "a"), ("abc", "xyc"), ("abcd", "badc"), ("", "ab")] {
        assert!(!fold::close(one, other), "{one} {other}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in any::<String>(), name in any::<String>()) {
        LEXICON.read(&text, &[Product { id: "p".into(), name }]);
    }

    /// A word of harm is found whatever stands around it and however it is cased.
    #[test]
    fn a_term_is_found_wherever_it_stands(
        before in "[a-zA-Z ,.!?äöü]{0,60}",
        after in "[a-zA-Z ,.!?éñ]{0,60}",
        term in prop::sample::select(vec!["nausea", "Hautausschlag", "diarrhée", "picazón", "vertigini"]),
        upper in any::<bool>(),
    ) {
        let term = if upper { term.to_uppercase() } else { term.to_owned() };
        let found = LEXICON.read(&format!("{before} {term}, {after}"), &[]);
        prop_assert!(found.is_alarming(false));
    }
}
