use super::*;

/// The example of the Standard Webhooks specification's own libraries: secret, id, timestamp, body, signature.
#[test]
fn a_signature_is_as_the_specification_has_it() {
    let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret).expect("a key");
    mac.update(b"msg_p5jXN8AQM9LWM0D4loKWxJek.1614265330.{\"test\": 2432232314}");
    let expected = "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    assert_eq!(STANDARD.encode(mac.finalize().into_bytes()), expected);
    let key = [7; 32];
    let signed = sign(&key, "msg_1", 1_614_265_330, "{}");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(b"msg_1.1614265330.{}");
    assert_eq!(signed, format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())));
}

#[test]
fn an_answer_is_a_yes_a_no_or_a_later() {
    let code = |it: &str| it.to_owned();
    assert_eq!(told(204), Told::Taken { provider_id: String::new() });
    assert_eq!(told(410), Told::Refused { code: code("410") });
    assert_eq!(told(400), Told::Refused { code: code("400") });
    assert_eq!(told(302), Told::Refused { code: code("302") });
    assert_eq!(told(429), Told::Later { code: code("429") });
    assert_eq!(told(503), Told::Repeat { code: code("503") });
}
