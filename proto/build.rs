//! Compiles the protos without `protoc`, and derives from their descriptors what the code needs to
//! know about them: the permission of every RPC, the schema hash of every message, and how each
//! event set is encoded, decoded and sealed.

#![expect(clippy::disallowed_methods, reason = "cargo tells a build script by its environment")]

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

use prost_reflect::{DescriptorPool, FieldDescriptor, Kind, MessageDescriptor, Value};

const SEALED: &str = "rapport.type.v1.Sealed";
const ACCESS: &str = "rapport.type.v1.access";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=rapport");
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut files = Vec::new();
    protos(Path::new("rapport"), &mut files)?;
    files.sort();

    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    // Encoded by protox itself: a round trip through prost-types would drop the access option.
    fs::write(out.join("rapport.binpb"), compiler.encode_file_descriptor_set())?;

    // Authored documents and the CLI find a message's descriptor by its name.
    let mut names = prost_build::Config::new();
    names.enable_type_names();
    let grpc = env::var_os("CARGO_FEATURE_GRPC").is_some();
    tonic_prost_build::configure()
        .build_client(grpc)
        .build_server(grpc)
        .btree_map(".")
        .extern_path(format!(".{SEALED}"), "crate::Personal")
        .compile_fds_with_config(compiler.file_descriptor_set(), names)?;

    let pool = compiler.descriptor_pool();
    let mut generated = access_table(&pool)?;
    generated += &schema_table(&pool);
    generated += &event_sets(&pool);
    fs::write(out.join("derived.rs"), generated)?;
    Ok(())
}

fn protos(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            protos(&path, found)?;
        } else if path.extension().is_some_and(|it| it == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

/// `const ACCESS`: path and permission of every RPC. An RPC without the option does not compile. `const BY_MARKET`
/// and `const BY_BRAND`: the paths of those that heed markets, and brands.
fn access_table(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool.get_extension_by_name(ACCESS).ok_or("the access option is not defined")?;
    let mut table = String::from(
        "/// Path and permission of every RPC.\npub const ACCESS: &[(&str, &str)] = &[\n",
    );
    let mut confined = [("market", String::new()), ("brand", String::new())];
    for service in pool.services() {
        for method in service.methods() {
            let path = format!("/{}/{}", service.full_name(), method.name());
            let options = method.options();
            let declared = options.get_extension(&option);
            let field = |name: &str| match declared.as_ref() {
                Value::Message(access) => {
                    access.get_field_by_name(name).map(std::borrow::Cow::into_owned)
                }
                _ => None,
            };
            let permission = field("permission").and_then(|it| it.as_str().map(str::to_owned));
            let permission = permission.unwrap_or_default();
            for (scope, paths) in &mut confined {
                if field(&format!("by_{scope}")).and_then(|it| it.as_bool()).unwrap_or_default() {
                    writeln!(paths, "    {path:?},")?;
                }
            }
            if permission.split('.').count() != 3 {
                return Err(format!("{path} does not declare its permission ({ACCESS})").into());
            }
            writeln!(table, "    ({path:?}, {permission:?}),")?;
        }
    }
    table += "];\n";
    for (scope, paths) in confined {
        let name = scope.to_uppercase();
        writeln!(table, "/// Paths of the RPCs that keep to the {scope}s a token is confined to.")?;
        writeln!(table, "pub const BY_{name}: &[&str] = &[\n{paths}];")?;
    }
    Ok(table)
}

/// `const SCHEMAS`: hash over the shape of each message and of everything it refers to.
fn schema_table(pool: &DescriptorPool) -> String {
    let mut table = String::from(
        "/// Full name and schema hash of every message of Rapport.\npub const SCHEMAS: &[(&str, &str)] = &[\n",
    );
    let mut messages: Vec<_> =
        pool.all_messages().filter(|it| it.full_name().starts_with("rapport.")).collect();
    messages.sort_by(|a, b| a.full_name().cmp(b.full_name()));
    for message in messages {
        let mut shape = String::new();
        describe(&message, &mut BTreeSet::new(), &mut shape);
        let _ = writeln!(table, "    ({:?}, \"{:016x}\"),", message.full_name(), fnv(&shape));
    }
    table += "];\n";
    table
}

fn describe(message: &MessageDescriptor, seen: &mut BTreeSet<String>, shape: &mut String) {
    if !seen.insert(message.full_name().to_owned()) {
        return;
    }
    let mut fields: Vec<_> = message.fields().collect();
    fields.sort_by_key(FieldDescriptor::number);
    let _ = write!(shape, "{}{{", message.full_name());
    for field in &fields {
        let _ = write!(
            shape,
            "{}:{}:{:?}:{:?};",
            field.number(),
            field.name(),
            field.cardinality(),
            field.kind()
        );
    }
    shape.push('}');
    for field in &fields {
        if let Kind::Message(inner) = field.kind() {
            describe(&inner, seen, shape);
        }
    }
}

/// FNV-1a, 64 bit (draft-eastlake-fnv-17). It tells shapes apart; nothing relies on it for security.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// `impl EventSet` for the `oneof event` of every message called `…Event`.
fn event_sets(pool: &DescriptorPool) -> String {
    let mut code = String::new();
    for message in pool.all_messages() {
        let package = message.parent_file().package_name().to_owned();
        let listed = message.oneofs().find(|it| it.name() == "event");
        if let Some(events) = listed.filter(|_| message.name().ends_with("Event")) {
            code += &event_set(&package, message.name(), &events.fields().collect::<Vec<_>>());
        }
    }
    code
}

fn event_set(package: &str, name: &str, fields: &[FieldDescriptor]) -> String {
    let module = package.trim_start_matches("rapport.").replace('.', "::");
    let set = format!("crate::{module}::{}::Event", snake(name));
    let (mut names, mut types, mut encode, mut decode, mut personal) =
        (String::new(), String::new(), String::new(), String::new(), String::new());
    for field in fields {
        let Kind::Message(message) = field.kind() else {
            continue;
        };
        let full = message.full_name();
        let variant = camel(field.name());
        let rust = format!("crate::{module}::{}", message.name());
        let _ = writeln!(types, "        {full:?},");
        let _ = writeln!(names, "            Self::{variant}(_) => {full:?},");
        let _ = writeln!(
            encode,
            "            Self::{variant}(it) => prost::Message::encode_to_vec(it),"
        );
        let _ = writeln!(
            decode,
            "            {full:?} => Some(Self::{variant}(<{rust} as prost::Message>::decode(bytes)?)),"
        );
        let mut visits = String::new();
        visit_personal(&message, "it", "", &mut visits);
        let binding = if visits.is_empty() { "_" } else { "it" };
        let _ = writeln!(personal, "            Self::{variant}({binding}) => {{{visits}}}");
    }
    format!(
        "impl crate::EventSet for {set} {{
    const TYPES: &'static [&'static str] = &[\n{types}    ];
    fn type_name(&self) -> &'static str {{
        match self {{\n{names}        }}
    }}
    fn encode(&self) -> Vec<u8> {{
        match self {{\n{encode}        }}
    }}
    fn decode(type_name: &str, bytes: &[u8]) -> Result<Option<Self>, prost::DecodeError> {{
        Ok(match type_name {{\n{decode}            _ => None,
        }})
    }}
    fn personal(&mut self, visit: &mut dyn FnMut(&str, &mut crate::Personal)) {{
        match self {{\n{personal}        }}
        let _ = visit;
    }}
}}\n"
    )
}

/// Emits a visit for every sealed field of the message, depth first, with its path.
fn visit_personal(message: &MessageDescriptor, place: &str, path: &str, code: &mut String) {
    for field in message.fields() {
        let Kind::Message(inner) = field.kind() else {
            continue;
        };
        let (name, path) = (field.name(), format!("{path}{}", field.name()));
        assert!(
            !(field.is_list() || field.is_map()) || inner.full_name() != SEALED,
            "{path}: a sealed field stands alone, not in a list or map"
        );
        if inner.full_name() == SEALED {
            let _ = write!(
                code,
                " if let Some(field) = &mut {place}.{name} {{ visit({path:?}, field); }}"
            );
        } else if !field.is_list() && !field.is_map() && inner.full_name().starts_with("rapport.") {
            let mut visits = String::new();
            visit_personal(&inner, name, &format!("{path}."), &mut visits);
            if !visits.is_empty() {
                let _ = write!(code, " if let Some({name}) = &mut {place}.{name} {{{visits}}}");
            }
        }
    }
}

fn snake(name: &str) -> String {
    let mut text = String::new();
    for (index, letter) in name.char_indices() {
        if letter.is_uppercase() && index > 0 {
            text.push('_');
        }
        text.extend(letter.to_lowercase());
    }
    text
}

fn camel(name: &str) -> String {
    name.split('_')
        .flat_map(|word| {
            word.chars().take(1).flat_map(char::to_uppercase).chain(word.chars().skip(1))
        })
        .collect()
}
