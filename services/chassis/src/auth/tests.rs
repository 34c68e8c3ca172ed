use std::time::Duration;

use http::HeaderValue;
use serde_json::json;

use super::*;
use crate::status::{KEYS_UNAVAILABLE, Reason, TOKEN_EXPIRED};
use crate::testing::{OidcIssuer, TokenSpec};

fn headers(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers
        .insert(AUTHORIZATION, HeaderValue::from_str(&format!("Bearer {token}")).expect("ASCII"));
    headers
}

async fn caller(authenticator: &Authenticator, token: &str) -> Result<Caller, Reason> {
    authenticator
        .authenticate(&headers(token))
        .await
        .map(|it| it.caller)
        .map_err(|problem| problem.reason)
}

fn settings_of(issuer: &OidcIssuer) -> Settings {
    let mut settings =
        Settings { tenants: vec!["acme".into(), "umbrella".into()], ..Settings::default() };
    issuer.configure(&mut settings);
    settings.auth.roles.insert("steward".into(), vec!["profiles.*".into()]);
    settings
}

fn keys() -> ServiceKeys {
    ServiceKeys::generate()
}

async fn oidc() -> (OidcIssuer, Authenticator) {
    let issuer = OidcIssuer::start().await;
    let (authenticator, token) = Authenticator::new(&settings_of(&issuer), keys()).expect("set up");
    assert!(token.is_none(), "no development token beside OIDC");
    (issuer, authenticator)
}

fn ada() -> TokenSpec {
    TokenSpec::new("acme", "ada", &["profiles.parties.read"])
}

#[tokio::test]
async fn a_token_proves_tenant_subject_permissions_and_roles() {
    let (issuer, authenticator) = oidc().await;
    let token = issuer.mint(ada().with("roles", json!(["steward", "unheard-of"])));
    let caller = caller(&authenticator, &token).await.expect("valid");
    assert_eq!(
        (caller.tenant.as_str(), caller.subject.as_str(), caller.kind),
        ("acme", "ada", Kind::User)
    );
    assert!(caller.permissions.allow("profiles.parties.read"));
    assert!(caller.permissions.allow("profiles.consents.write"), "by the role");
    assert!(!caller.permissions.allow("content.modules.read"));
    assert_eq!(caller.on_behalf_of, None);
}

#[tokio::test]
async fn a_token_is_confined_to_the_markets_and_brands_it_names() {
    let (issuer, authenticator) = oidc().await;
    let mut settings = settings_of(&issuer);
    settings.auth.markets_required = true;
    settings.auth.brands_required = true;
    let (strict, _) = Authenticator::new(&settings, keys()).expect("set up");
    let all = ["DE", "FR"].map(str::to_owned);
    let cases: [(serde_json::Value, _, _); 5] = [
        (json!(null), &all[..], &all[..0]),
        (json!(["*"]), &all, &all),
        (json!(["DE", "*"]), &all, &all),
        (json!(["DE"]), &all[..1], &all[..1]),
        (json!([]), &all[..0], &all[..0]),
    ];
    type Reaches = fn(&Caller, &str) -> bool;
    let scopes: [(_, Reaches); 2] =
        [("markets", Caller::reaches), ("brands", Caller::reaches_brand)];
    for (scope, reaches) in scopes {
        for (claim, reached, reached_strictly) in &cases {
            let token = issuer.mint(ada().with(scope, claim.clone()));
            for (of, reached) in [(&authenticator, reached), (&strict, reached_strictly)] {
                let caller = caller(of, &token).await.expect("valid");
                let found: Vec<_> = all.iter().filter(|it| reaches(&caller, it)).cloned().collect();
                assert_eq!(found, *reached, "{scope} {claim}");
            }
        }
        let token = issuer.mint(ada().with(scope, json!("DE")));
        assert_eq!(caller(&authenticator, &token).await.expect_err("no list"), TOKEN_INVALID);
    }
}

#[tokio::test]
async fn a_token_tells_when_its_person_authenticated() {
    let (issuer, authenticator) = oidc().await;
    let nothing = json!(null);
    let cases = [
        (json!(1_700_000_000), json!(1_700_003_600), Some(1_700_000_000_000_000)),
        (nothing.clone(), json!(1_700_003_600.5), Some(1_700_003_600_500_000)),
        (json!(-1), nothing.clone(), None),
        (nothing.clone(), nothing, None),
    ];
    for (auth_time, iat, expected) in cases {
        let token = issuer.mint(ada().with("auth_time", auth_time).with("iat", iat));
        let caller = caller(&authenticator, &token).await.expect("valid");
        assert_eq!(caller.authenticated_at, expected.map(Timestamp));
    }
}

#[tokio::test]
async fn expired_premature_foreign_and_forged_tokens_are_refused() {
    let (issuer, authenticator) = oidc().await;
    let other = OidcIssuer::start().await;
    let tomorrow = json!(unix_seconds() + 86_400);
    let cases = [
        ("expired", issuer.mint(ada().expired()), TOKEN_EXPIRED),
        ("not yet valid", issuer.mint(ada().with("nbf", tomorrow)), TOKEN_EXPIRED),
        ("no end", issuer.mint(ada().with("exp", json!(null))), TOKEN_INVALID),
        ("another audience", issuer.mint(ada().with("aud", json!("else"))), TOKEN_INVALID),
        ("no audience", issuer.mint(ada().with("aud", json!(null))), TOKEN_INVALID),
        ("another issuer named", issuer.mint(ada().with("iss", json!(other.url()))), TOKEN_INVALID),
        ("another issuer", other.mint(ada()), TOKEN_INVALID),
        ("forged", issuer.forge(ada()), TOKEN_INVALID),
        ("unknown key", issuer.with_unknown_key(ada()), TOKEN_INVALID),
        ("no subject", issuer.mint(ada().with("sub", json!(null))), TOKEN_INVALID),
        ("nonsense", "a.b.c".to_owned(), TOKEN_INVALID),
        ("another tenant", issuer.mint(ada().with("tenant", json!("stranger"))), TENANT_UNKNOWN),
        ("no tenant", issuer.mint(ada().with("tenant", json!(null))), TENANT_UNKNOWN),
    ];
    for (case, token, reason) in cases {
        assert_eq!(caller(&authenticator, &token).await.expect_err(case), reason, "{case}");
    }
}

/// RFC 7518: what issuers sign with. Most sign with RS256.
#[tokio::test]
async fn a_token_is_verified_by_the_algorithm_of_its_key_and_no_other() {
    let all = ["EdDSA", "ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512"];
    for algorithm in all {
        let issuer = OidcIssuer::start().await;
        issuer.rotate_to(algorithm);
        issuer.withdraw_old_keys();
        let mut settings = settings_of(&issuer);
        settings.auth.algorithms = all.map(str::to_owned).to_vec();
        let (authenticator, _) = Authenticator::new(&settings, keys()).expect("set up");
        let token = issuer.mint(ada());
        caller(&authenticator, &token).await.unwrap_or_else(|it| panic!("{algorithm}: {it:?}"));
        let forged = issuer.forge(ada());
        assert_eq!(caller(&authenticator, &forged).await, Err(TOKEN_INVALID), "{algorithm}");

        let [_, claims, signature] =
            token.split('.').collect::<Vec<_>>().try_into().expect("three parts");
        for other in all.into_iter().chain(["HS256", "HS384", "none"]) {
            let header = URL_SAFE_NO_PAD.encode(json!({"alg": other, "typ": "JWT"}).to_string());
            let renamed = format!("{header}.{claims}.{signature}");
            let answer = caller(&authenticator, &renamed).await;
            assert_eq!(answer, Err(TOKEN_INVALID), "{algorithm}, said to be {other}");
        }
        let mut flipped = URL_SAFE_NO_PAD.decode(signature).expect("Base64");
        flipped[7] ^= 1;
        let flipped = token.replace(signature, &URL_SAFE_NO_PAD.encode(flipped));
        assert_eq!(caller(&authenticator, &flipped).await, Err(TOKEN_INVALID), "{algorithm}");

        settings.auth.algorithms.retain(|it| it != algorithm);
        let (authenticator, _) = Authenticator::new(&settings, keys()).expect("set up");
        let refused = caller(&authenticator, &token).await;
        assert_eq!(refused, Err(TOKEN_INVALID), "{algorithm} is not accepted here");
    }
}

#[tokio::test]
async fn a_symmetric_or_unsigned_token_is_refused() {
    let (issuer, authenticator) = oidc().await;
    let claims = TokenSpec::new("acme", "ada", &["*"]).with("iss", json!(issuer.url())).claims;
    let key = jsonwebtoken::EncodingKey::from_secret(b"the issuer's public key, say");
    let header = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256);
    let symmetric = jsonwebtoken::encode(&header, &claims, &key).expect("signed");
    assert_eq!(caller(&authenticator, &symmetric).await, Err(TOKEN_INVALID));
    let body = symmetric.split('.').nth(1).expect("claims");
    let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
    assert_eq!(caller(&authenticator, &unsigned).await, Err(TOKEN_INVALID));
}

#[tokio::test]
async fn a_new_key_is_found_and_a_withdrawn_one_forgotten() {
    let issuer = OidcIssuer::start().await;
    let verifier =
        oidc::Verifier::new(&settings_of(&issuer).auth).expect("set up").with_pause(Duration::ZERO);
    let old = issuer.token("acme", "ada", &[]);
    assert!(verifier.verify(&old).await.is_ok());
    issuer.rotate();
    assert!(verifier.verify(&issuer.token("acme", "ada", &[])).await.is_ok());
    assert!(verifier.verify(&old).await.is_ok(), "the old key is still published");
    issuer.withdraw_old_keys();
    verifier.read().await.expect("read");
    assert!(verifier.verify(&old).await.is_err(), "remembered tokens go with their key");
    assert!(verifier.verify(&issuer.token("acme", "ada", &[])).await.is_ok());
}

#[tokio::test]
async fn forged_key_ids_do_not_flood_the_issuer() {
    let (issuer, authenticator) = oidc().await;
    for _ in 0..20 {
        let _ = caller(&authenticator, &issuer.with_unknown_key(ada())).await;
    }
    assert_eq!(issuer.key_requests(), 1);
}

#[tokio::test]
async fn keys_stay_in_use_while_the_issuer_is_down() {
    let issuer = OidcIssuer::start().await;
    let verifier =
        oidc::Verifier::new(&settings_of(&issuer).auth).expect("set up").with_pause(Duration::ZERO);
    issuer.set_down(true);
    let refusal =
        verifier.verify(&issuer.token("acme", "ada", &[])).await.expect_err("no keys yet");
    assert_eq!(refusal.reason, KEYS_UNAVAILABLE);
    issuer.set_down(false);
    assert!(verifier.verify(&issuer.token("acme", "ada", &[])).await.is_ok());
    issuer.set_down(true);
    assert!(verifier.read().await.is_err());
    assert!(verifier.verify(&issuer.token("acme", "bob", &[])).await.is_ok());
}

#[tokio::test]
async fn a_busy_clients_token_is_verified_once_and_its_expiry_still_counts() {
    let (issuer, authenticator) = oidc().await;
    let token = issuer.mint(ada());
    let first = caller(&authenticator, &token).await.expect("valid");
    issuer.set_down(true);
    assert_eq!(caller(&authenticator, &token).await.expect("remembered"), first);
}

#[tokio::test]
async fn a_development_token_opens_the_first_tenant_and_nothing_else_does() {
    let settings =
        Settings { tenants: vec!["acme".into(), "umbrella".into()], ..Settings::default() };
    let (authenticator, token) = Authenticator::new(&settings, keys()).expect("embedded");
    let token = token.expect("a development token");
    let developer = caller(&authenticator, token.reveal()).await.expect("valid");
    assert_eq!((developer.tenant.as_str(), developer.kind), ("acme", Kind::Development));
    assert!(developer.permissions.allow("anything.at.all"));
    for wrong in ["dev-", "dev-0000", &token.reveal()[1..], "x"] {
        assert_eq!(caller(&authenticator, wrong).await, Err(TOKEN_INVALID));
    }
    assert!(!format!("{token:?}").contains(token.reveal()), "a log line shows no token");
    let (_, another) = Authenticator::new(&settings, keys()).expect("embedded");
    assert_ne!(another.expect("a development token").reveal(), token.reveal());
}

#[tokio::test]
async fn a_development_token_is_never_made_outside_embedded_mode() {
    let mut exposed = Settings::default();
    exposed.grpc.address = "0.0.0.0:0".parse().expect("address");
    let mut shared = Settings::default();
    shared.log.url = "nats://127.0.0.1:4222".into();
    let mut postgres = Settings::default();
    postgres.database.url = "postgres://127.0.0.1/{service}".into();
    for settings in [exposed, shared, postgres] {
        assert!(matches!(Authenticator::new(&settings, keys()), Err(Error::NotEmbedded)));
    }
}

#[tokio::test]
async fn a_development_token_can_be_held_by_several_people() {
    let (authenticator, token) =
        Authenticator::new(&Settings::default(), keys()).expect("embedded mode");
    let token = token.expect("a token").reveal().to_owned();
    for (held, subject) in [("", "developer"), ("+alice", "alice")] {
        let caller = caller(&authenticator, &format!("{token}{held}")).await.expect("valid");
        assert_eq!((caller.subject.as_str(), caller.kind), (subject, Kind::Development));
    }
    for odd in ["+", "+Alice", "+a b", "+alice+bob"] {
        let refused = caller(&authenticator, &format!("{token}{odd}")).await;
        assert_eq!(refused, Err(TOKEN_INVALID), "{odd}");
    }
}

#[tokio::test]
async fn a_development_token_means_nothing_to_an_oidc_server() {
    let (_issuer, authenticator) = oidc().await;
    let token = DevelopmentToken::generate();
    assert_eq!(caller(&authenticator, token.reveal()).await, Err(TOKEN_INVALID));
}

#[tokio::test]
async fn a_missing_or_odd_header_is_refused() {
    let (_issuer, authenticator) = oidc().await;
    let none = authenticator.authenticate(&HeaderMap::new()).await.expect_err("no token");
    assert_eq!(none.reason, TOKEN_MISSING);
    for odd in ["Basic YTpi", "Bearer", "Bearer ", "token"] {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, HeaderValue::from_static(odd));
        let refusal = authenticator.authenticate(&headers).await.expect_err("odd");
        assert_eq!(refusal.reason, TOKEN_INVALID, "{odd}");
    }
}

#[tokio::test]
async fn a_service_token_carries_the_person_and_only_a_listed_tenant() {
    let (_issuer, _) = oidc().await;
    let issuer = OidcIssuer::start().await;
    let services = keys();
    let (authenticator, _) =
        Authenticator::new(&settings_of(&issuer), services.clone()).expect("set up");
    let grant = service::Grant {
        from: "journeys",
        to: "profiles",
        tenant: "acme",
        on_behalf_of: Some("ada"),
    };
    let service = caller(&authenticator, &services.mint(grant)).await.expect("valid");
    assert_eq!((service.kind, service.on_behalf_of.as_deref()), (Kind::Service, Some("ada")));
    let stranger = services.mint(service::Grant { tenant: "stranger", ..grant });
    assert_eq!(caller(&authenticator, &stranger).await, Err(TENANT_UNKNOWN));
    let healing = services.mint(service::Grant { tenant: "", on_behalf_of: None, ..grant });
    assert_eq!(caller(&authenticator, &healing).await.expect("valid").tenant, "");
}

#[test]
fn permissions_match_whole_words() {
    let permissions: Permissions = ["profiles.parties.read", "content.*"].into_iter().collect();
    assert!(
        permissions.allow("profiles.parties.read") && permissions.allow("content.modules.sign")
    );
    assert!(
        !permissions.allow("profiles.parties.readall") && !permissions.allow("profiles.parties")
    );
    assert!(!permissions.allow("contents.modules.read"));
}
