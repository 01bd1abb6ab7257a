// SPDX-License-Identifier: MIT OR Apache-2.0
//! `ns --svg`, `explain --svg` and `scan --html` in a real browser (Chromium, headless): text and geometry, light and
//! dark, narrow as at 200 per cent, and with names that want to be markup. As root.

mod images;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

/// Measured by the browser, not by what made the picture: whether each text is inside its box, boxes
/// apart, and the least contrast of a text on what is under it (WCAG 2.2, 1.4.3).
const MEASURE: &str = r#"
const luminance = (colour) => {
  const part = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const [r, g, b] = colour.match(/\d+/g).map(Number).map(part);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (a, b) => {
  const [x, y] = [luminance(a), luminance(b)].sort((m, n) => n - m);
  return (x + 0.05) / (y + 0.05);
};
const boxes = [...document.querySelectorAll("svg g")];
const rect = (e) => e.getBoundingClientRect();
const within = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom;
const apart = (a, b) => a.bottom <= b.top || b.bottom <= a.top;
const outside = [], least = [];
for (const g of boxes) {
  const box = g.querySelector("rect");
  for (const text of g.querySelectorAll("text")) {
    if (!within(rect(text), rect(box))) outside.push(text.textContent);
    least.push(contrast(getComputedStyle(text).fill, getComputedStyle(box).fill));
  }
}
const touching = boxes.filter((a, n) => boxes.some((b, m) => n < m && !apart(rect(a), rect(b)))).length;
const svg = document.querySelector("svg");
for (const cell of document.querySelectorAll("td, tbody th, h1, p, td a")) {
  least.push(contrast(getComputedStyle(cell).color, getComputedStyle(document.body).backgroundColor));
}
const said = {
  boxes: boxes.length, outside, touching, contrast: Math.min(...least),
  ground: getComputedStyle(svg.querySelector(".ground")).fill,
  beyond: boxes.filter((g) => !within(rect(g), rect(svg))).length,
  titles: boxes.map((g) => g.querySelector("text").textContent),
  labels: boxes.map((g) => [g.getAttribute("role"), g.getAttribute("aria-label")]),
  lines: boxes.map((g) => [...g.querySelectorAll("text")].map((t) => t.textContent)),
  lost: [...document.querySelectorAll(".lost")].map((t) => t.textContent),
  desc: svg.querySelector("desc").textContent,
  scripts: document.scripts.length, images: document.images.length, title: document.title,
  heads: [...document.querySelectorAll("tbody th")].map((e) => e.textContent),
  cells: [...document.querySelectorAll("tbody tr")].map((r) => [...r.querySelectorAll("td")].map((c) => c.textContent)),
  links: [...document.querySelectorAll("a")].map((a) => document.querySelector(a.getAttribute("href")) !== null),
  wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
};
const out = document.createElement("output");
out.textContent = JSON.stringify(said);
document.body.append(out);
"#;

/// What the browser measures of a page; `None`, and said so, where there is no browser.
fn measured(page: &str, width: u32, dark: bool) -> Option<Value> {
    let dir = tempfile::tempdir().expect("a directory");
    // The page's own policy allows no script, and that is tested apart.
    let page = page.replace("http-equiv=\"Content-Security-Policy\"", "name=\"policy\"");
    let page = match page.contains("</body>") {
        true => page.replace("</body>", &format!("<script>{MEASURE}</script></body>")),
        false => format!("<!DOCTYPE html><body>{page}<script>{MEASURE}</script></body>"),
    };
    let file = dir.path().join("page.html");
    std::fs::write(&file, page).expect("a page");
    let scheme = if dark { 0 } else { 1 };
    let size = [
        format!("--window-size={width},2000"),
        format!("--blink-settings=preferredColorScheme={scheme}"),
    ];
    let output = browser(dir.path(), &size, &file)?;
    let said = output.rsplit_once("<output>").and_then(|(_, rest)| rest.split_once("</output>"));
    let said = said.unwrap_or_else(|| panic!("the browser said: {output}")).0;
    let said = said.replace("&lt;", "<").replace("&gt;", ">").replace("&nbsp;", "\u{a0}");
    Some(serde_json::from_str(&said.replace("&amp;", "&")).expect("JSON"))
}

/// The document that the browser makes of a file.
fn browser(dir: &Path, options: &[String], file: &Path) -> Option<String> {
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--dump-dom"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .args(options)
        .arg(format!("file://{}", file.display()))
        .env("HOME", dir)
        .stdin(Stdio::null())
        .output();
    match output {
        Err(_) => {
            println!("skipped: needs chromium");
            None
        }
        Ok(output) => Some(String::from_utf8_lossy(&output.stdout).into_owned()),
    }
}

/// Whether the browser takes it for XML, as a file of its own.
fn is_a_document(svg: &str) -> bool {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("picture.svg");
    std::fs::write(&file, svg).expect("a picture");
    browser(dir.path(), &[], &file)
        .is_none_or(|said| said.contains("<svg") && !said.contains("parsererror"))
}

fn nscap(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nscap")).args(args).output().expect("nscap");
    assert!(matches!(output.status.code(), Some(0..=2)), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A process in a user namespace of its own, whose name wants to be markup.
struct Hostile(std::process::Child, #[allow(dead_code)] tempfile::TempDir);

const NAME: &str = "</g><script>";
/// Its root's kuid, where root makes it; the other test's is another.
const ROOT: u32 = 3_000_000_000;

impl Hostile {
    fn new(root: u32) -> Hostile {
        let dir = tempfile::tempdir().expect("a directory");
        let program = dir.path().join("program");
        std::fs::write(
            &program,
            format!("#!/bin/sh\nprintf '%s' '{NAME}' >/proc/$$/comm\necho\nread -r _\n"),
        )
        .expect("a program");
        std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).expect("its mode");
        let mut child = Command::new("unshare")
            .arg("--user")
            .arg(&program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut byte = [0];
        std::io::Read::read_exact(child.stdout.as_mut().expect("its output"), &mut byte)
            .expect("a process that began");
        let own = rustix::process::geteuid();
        let root = if own.is_root() { root } else { own.as_raw() };
        let map = format!("/proc/{}/uid_map", child.id());
        std::fs::write(map, format!("0 {root} 1")).expect("its map");
        Hostile(child, dir)
    }
}

impl Drop for Hostile {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What must hold of each picture, however wide and whatever the colours.
fn holds(said: &Value) {
    assert_eq!(said["outside"], serde_json::json!([]), "texts outside of their boxes");
    assert_eq!((&said["touching"], &said["beyond"]), (&0.into(), &0.into()));
    assert!(said["contrast"].as_f64().is_some_and(|least| least >= 4.5), "{}", said["contrast"]);
    // The script of the test is the only one.
    assert_eq!((&said["scripts"], &said["images"]), (&1.into(), &0.into()));
    for label in said["labels"].as_array().expect("labels") {
        assert_eq!(label[0], "listitem");
        assert!(label[1].as_str().is_some_and(|text| !text.is_empty()));
    }
    assert!(said["desc"].as_str().is_some_and(|text| !text.is_empty()));
}

/// What must hold of a picture of namespaces beside.
fn names_roots(said: &Value) {
    for label in said["labels"].as_array().expect("labels") {
        let text = label[1].as_str().expect("text");
        assert!(text.contains("kuid") || text.contains("root"), "{text}");
    }
}

#[test]
fn the_tree_of_namespaces_is_whole_in_light_and_dark_and_narrow() {
    let _hostile = Hostile::new(ROOT + 1);
    let svg = nscap(&["ns", "--svg"]);
    assert!(svg.starts_with("<svg ") && !svg.contains("<script"), "{svg}");
    let namespace = std::fs::read_link("/proc/self/ns/user").expect("our namespace");
    let own: String = namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    let mut grounds = Vec::new();
    for (width, dark) in [(1280, false), (640, true)] {
        let Some(said) = measured(&svg, width, dark) else { return };
        holds(&said);
        names_roots(&said);
        let titles = said["titles"].as_array().expect("titles");
        assert!(titles.len() >= 2, "{titles:?}");
        assert!(titles.iter().any(|title| title.as_str().is_some_and(|t| t.contains(&own))));
        let named = |label: &Value| label[1].as_str().is_some_and(|text| text.contains(NAME));
        assert!(said["labels"].as_array().expect("labels").iter().any(named), "{said}");
        grounds.push(said["ground"].clone());
    }
    assert_eq!(grounds, ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]);
}

#[test]
fn a_page_shows_each_file_and_where_its_grants_hold() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let hostile = Hostile::new(ROOT);
    let dir = tempfile::tempdir().expect("a directory");
    let tree = dir.path().join("<img src=x onerror=alert(1)>&amp;");
    std::fs::create_dir(&tree).expect("a tree");
    let file = |name: &str, who: &str| {
        let path = tree.join(name);
        std::fs::copy("/bin/true", &path).expect("a file");
        let text = path.to_str().expect("UTF-8").to_owned();
        nscap(&["set", "cap_net_raw=ep", &text, "--for", who]);
        text
    };
    let pid = hostile.0.id();
    let namespace = std::fs::read_link(format!("/proc/{pid}/ns/user")).expect("its namespace");
    let namespace: String =
        namespace.to_string_lossy().chars().filter(char::is_ascii_digit).collect();
    let everywhere = file("a'\"<title><script>alert(1)<script>", "host");
    let there = file("b", &format!("pid:{pid}"));
    let nowhere = file("c", "4000000000");
    let html = nscap(&["scan", "--html", tree.to_str().expect("UTF-8")]);
    assert!(
        html.contains("default-src 'none'") && !html.contains("<script") && !html.contains("<img")
    );
    for (width, dark) in [(1280, false), (640, true)] {
        let Some(said) = measured(&html, width, dark) else { return };
        holds(&said);
        names_roots(&said);
        // At 200 per cent of 1280 pixels nothing but a picture is scrolled sideways.
        assert_eq!(said["wide"], 0, "{width}");
        let heads = said["heads"].as_array().expect("files");
        assert_eq!(heads.len(), 3);
        for (head, path) in heads.iter().zip([&everywhere, &there, &nowhere]) {
            let name = Path::new(path).file_name().expect("a name").to_str().expect("UTF-8");
            let name = name.replace('\'', "");
            let shown = head.as_str().expect("text").replace(['\'', '\\'], "");
            assert!(shown.contains(&name), "{shown} {name}");
        }
        assert_eq!(said["cells"][0][0], "host");
        assert_eq!(said["cells"][0][1], "cap_net_raw=ep");
        assert!(said["cells"][0][3].as_str().is_some_and(|text| text.starts_with("all ")));
        assert_eq!(
            (&said["cells"][1][0], &said["cells"][1][3]),
            (&format!("kuid {ROOT}").into(), &namespace.as_str().into())
        );
        assert_eq!(
            (&said["cells"][2][0], &said["cells"][2][3]),
            (&"kuid 4000000000".into(), &"none".into())
        );
        let links = said["links"].as_array().expect("links");
        assert!(!links.is_empty() && links.iter().all(|there| there == true), "{links:?}");
        assert!(said["title"].as_str().is_some_and(|title| title.contains("<img src=x")));
    }
    drop(hostile);
}

/// Steps of the chain, what was lost and why, in both colours and at 200 per cent of 1280 pixels.
#[test]
fn an_explanation_shows_each_step_and_what_is_lost() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o755)).expect("its mode");
    let rootfs = dir.path().join("</text><script>'\"&\u{202e}\u{1b}\u{ffff}語語");
    std::fs::create_dir_all(rootfs.join("bin")).expect("a tree");
    let program = |name: &str, caps: &str| {
        let path = rootfs.join("bin").join(name);
        std::fs::write(&path, images::static_program()).expect("a program");
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("its mode");
        if !caps.is_empty() {
            nscap(&["set", caps, path.to_str().expect("UTF-8")]);
        }
    };
    program("first", "");
    program("<ping>", "cap_net_raw=ep");
    std::fs::write(rootfs.join("bin/script"), "#!/bin/<ping>\n").expect("a script");
    std::fs::set_permissions(rootfs.join("bin/script"), PermissionsExt::from_mode(0o755))
        .expect("its mode");
    let root = rootfs.to_str().expect("UTF-8");
    let start = ["--root", root, "--user", "1000", "--through", "/bin/first", "--svg"];
    let svg = |file: &str, more: &[&str]| nscap(&[&["explain", file], &start[..], more].concat());
    let lossy =
        svg("/bin/script", &["--add", "NET_RAW", "--runtime", "containerd", "--no-new-privileges"]);
    let fails = svg("/bin/script", &["--drop", "ALL"]);
    let whole = svg("/bin/first", &[]);
    let both = svg("/bin/script", &["--userns", "0:100000:65536"]);
    let _hostile = Hostile::new(ROOT + 2);
    let live = nscap(&["explain", "/bin/true", "--pid", &_hostile.0.id().to_string(), "--svg"]);
    for svg in [&lossy, &fails, &whole, &both, &live] {
        assert!(
            svg.starts_with("<svg ") && !svg.contains("<script") && is_a_document(svg),
            "{svg}"
        );
        assert!(!svg.contains(['\u{202e}', '\u{1b}', '\u{ffff}']), "{svg}");
    }
    for (width, dark) in [(1280, false), (640, true)] {
        let ask = |svg: &str| measured(svg, width, dark);
        let (Some(lossy), Some(fails), Some(whole)) = (ask(&lossy), ask(&fails), ask(&whole))
        else {
            return;
        };
        let (Some(both), Some(live)) = (ask(&both), ask(&live)) else { return };
        for said in [&lossy, &fails, &whole, &both, &live] {
            holds(said);
            assert!(said["contrast"].as_f64().is_some_and(|least| least >= 7.0), "{said}");
            // Nothing is cut, and no box is wider than a window of 640 pixels.
            assert!(!said["lines"].to_string().contains('…'), "{said}");
            assert!(said["wide"].as_u64() <= Some(24), "{}", said["wide"]);
        }
        let text = |said: &Value, what: &str| said[what].to_string().replace("\",\"", " ");
        let titles = [
            "Before execve: ",
            "execve ",
            "After execve",
            "execve ",
            "After execve",
            "What to change",
        ];
        let starts = |said: &Value, titles: &[&str]| {
            let own = said["titles"].as_array().expect("titles");
            own.len() == titles.len()
                && own
                    .iter()
                    .zip(titles)
                    .all(|(own, t)| own.as_str().is_some_and(|own| own.starts_with(t)))
        };
        assert!(starts(&lossy, &titles), "{}", lossy["titles"]);
        // What was lost, at which step, by which clause.
        let lost = text(&lossy, "lost");
        for part in [
            "added and not kept: cap_net_raw",
            "gone from permitted: ",
            "[X]",
            "no_new_privs is set",
        ] {
            assert!(lost.contains(part), "{part}: {lost}");
        }
        let fail = [
            "Before execve: ",
            "execve ",
            "After execve",
            "execve ",
            "The program does not run: EPERM",
            "What to change",
        ];
        assert!(starts(&fails, &fail), "{}", fails["titles"]);
        assert!(text(&fails, "desc").contains("EPERM"), "{}", fails["desc"]);
        assert!(text(&fails, "labels").contains("script: /bin/script is a script"), "{fails}");
        assert!(starts(&whole, &titles[..5]), "{}", whole["titles"]);
        assert_eq!(
            (&whole["desc"], &whole["lost"]),
            (&"Nothing is lost.".into(), &serde_json::json!([]))
        );
        // One after the other: with owners that were changed, and through an id-mapped mount.
        let first =
            |said: &&Value| said.as_str().is_some_and(|text| text.starts_with("Before execve"));
        assert_eq!(both["titles"].as_array().expect("titles").iter().filter(first).count(), 2);
        assert!(text(&live, "labels").contains(NAME), "{live}");
    }
}
