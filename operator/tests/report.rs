//! `harmonybatch plan --report` as a user runs it: the real program writes the page, and a real browser opens it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde::Deserialize;

fn sample(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crds").join(name)
}

fn harmonybatch(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_harmonybatch"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The program may end before it reads: whether it did right is in its status.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// The page for some files and options; the exit status has to be the given one.
fn page(input: &str, files: &[PathBuf], options: &[&str], status: i32) -> String {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("plan.html");
    let mut arguments = vec!["plan", "--report", report.to_str().unwrap()];
    arguments.extend(files.iter().flat_map(|file| ["-f", file.to_str().unwrap()]));
    if !input.is_empty() {
        arguments.extend(["-f", "-"]);
    }
    arguments.extend(options);
    let output = harmonybatch(&arguments, input);
    assert_eq!(output.status.code(), Some(status), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("COST/MONTH"),
        "the table is printed as well"
    );
    let said = text(&output.stderr);
    assert!(said.contains(report.to_str().unwrap()), "{said}");
    std::fs::read_to_string(report).unwrap()
}

/// Forty applications of two models on one platform with a single GPU. SLOs come in near-equal fives, names are as long as names may be,
/// and one SLO cannot be kept.
fn forty() -> String {
    let platform = std::fs::read_to_string(sample("samples-paper/platform.yaml"))
        .unwrap()
        .replace("billing: PerInvocation", "billing: PerReplica")
        .replace("unitsPerDevice: 24", "unitsPerDevice: 24\n      devices: 1");
    let vgg19 = std::fs::read_to_string(sample("samples-paper/model.yaml")).unwrap();
    let mlp = std::fs::read_to_string(sample("samples/model.yaml"))
        .unwrap()
        .replacen("spec:\n", "spec:\n  platformRef: {name: paper}\n", 1);
    let mut all = format!("{platform}\n---\n{vgg19}\n---\n{mlp}");
    for index in 0..40_u32 {
        let model = if index % 2 == 0 { "vgg19" } else { "mlp" };
        let slo = match index {
            7 => 6,
            _ => 300 + 400 * (index / 5) + 2 * (index % 5),
        };
        let tenths = 2 + 7 * (index % 11);
        write!(
            all,
            "\n---\napiVersion: harmonybatch.dev/v1alpha1\nkind: InferenceApp\nmetadata: {{name: an-application-with-a-name-as-long-as-{index:02}}}\n\
             spec: {{modelRef: {{name: {model}}}, slo: {{latency: {slo}ms}}, rate: {}.{}/s}}\n",
            tenths / 10,
            tenths % 10
        )
        .unwrap();
    }
    all
}

/// What the browser found on one page at one width.
#[derive(Debug, Deserialize)]
struct Found {
    page: String,
    width: f64,
    /// Width of what is on the page.
    content: f64,
    /// Drawings.
    drawings: usize,
    /// Those without a size, in words.
    empty: Vec<String>,
    /// Words of one drawing that lie upon each other.
    collisions: Vec<String>,
    /// Words of a drawing that leave the page.
    cut: Vec<String>,
}

const WIDTHS: [u32; 2] = [1280, 390];

/// Looks at a page in a frame: widths below what a browser's window may have are possible there, and media queries see the frame's.
const LOOK: &str = r#"
const look = (frame) => {
  const page = frame.contentDocument;
  const drawings = [...page.querySelectorAll("svg")].filter((it) => !it.closest("details:not([open])"));
  const box = (it) => it.getBoundingClientRect();
  const name = (it) => it.textContent.trim().slice(0, 40);
  const words = (drawing) => [...drawing.querySelectorAll("text")].filter((it) => it.ownerSVGElement === drawing);
  const collisions = [];
  for (const drawing of drawings) {
    const all = words(drawing);
    all.forEach((a, index) => all.slice(index + 1).forEach((b) => {
      const [p, q] = [box(a), box(b)];
      const apart = p.right <= q.left || q.right <= p.left || p.bottom <= q.top + 1 || q.bottom <= p.top + 1;
      if (!apart) collisions.push(`${name(drawing)}: ${name(a)} / ${name(b)}`);
    }));
  }
  return {
    page: frame.dataset.page,
    width: frame.contentWindow.innerWidth,
    content: page.documentElement.scrollWidth,
    drawings: drawings.length,
    empty: drawings.filter((it) => !(box(it).width > 0 && box(it).height > 0)).map(name),
    collisions,
    cut: drawings.flatMap(words).filter((it) => box(it).left < 0 || box(it).right > frame.contentWindow.innerWidth).map(name),
  };
};
onload = () => {
  const found = [...document.querySelectorAll("iframe")].map(look);
  document.querySelector("pre").textContent = JSON.stringify(found);
};
"#;

fn chromium() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join("chromium"))
        .find(|program| program.is_file())
        .unwrap_or_else(|| {
            panic!(
                "no chromium on this machine; install it with\n    apt-get install -y --no-install-recommends chromium"
            )
        })
}

/// Opens pages side by side at every width; what the browser found, and what it complained of.
fn opened(pages: &[(&str, &str)]) -> (Vec<Found>, Vec<String>) {
    let mut frames = String::new();
    for (name, page) in pages {
        let page = page.replace('&', "&amp;").replace('"', "&quot;");
        for width in WIDTHS {
            write!(
                frames,
                "<iframe data-page=\"{name}\" style=\"width:{width}px;height:800px;border:0\" srcdoc=\"{page}\"></iframe>"
            )
            .unwrap();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let harness = folder.path().join("harness.html");
    std::fs::write(
        &harness,
        format!("<!DOCTYPE html><meta charset=\"utf-8\"><pre></pre>{frames}<script>{LOOK}</script>"),
    )
    .unwrap();
    let output = Command::new(chromium())
        .args([
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--enable-logging=stderr",
            "--window-size=1400,900",
            "--virtual-time-budget=5000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            folder.path().join("profile").display()
        ))
        .arg(format!("file://{}", harness.display()))
        .output()
        .unwrap();
    let (dom, log) = (
        text(&output.stdout),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    let found = dom
        .split_once("<pre>")
        .and_then(|(_, rest)| rest.split_once("</pre>"))
        .map(|(found, _)| {
            found
                .replace("&amp;", "&")
                .replace("&lt;", "<")
                .replace("&gt;", ">")
        })
        .unwrap_or_default();
    let found = serde_json::from_str(&found).unwrap_or_else(|error| panic!("{error}: {found}\n{log}"));
    let complaints = log.lines().filter(|line| line.contains("CONSOLE"));
    (found, complaints.map(str::to_owned).collect())
}

#[test]
fn a_browser_shows_every_page_at_every_width_without_a_complaint() {
    let pages = [
        ("samples", page("", &[sample("samples")], &[], 0)),
        ("paper", page("", &[sample("samples-paper")], &[], 0)),
        ("forty", page(&forty(), &[], &["--report-prices", "2"], 2)),
    ];
    let pages: Vec<(&str, &str)> = pages.iter().map(|(name, page)| (*name, page.as_str())).collect();
    let (found, complaints) = opened(&pages);
    assert_eq!(complaints, [""; 0]);
    assert_eq!(found.len(), pages.len() * WIDTHS.len());
    for seen in found {
        assert!(
            WIDTHS.iter().any(|width| f64::from(*width) - seen.width < 20.0),
            "{seen:?}"
        );
        assert!(
            seen.content <= seen.width,
            "{} is cut off at {}: {seen:?}",
            seen.page,
            seen.width
        );
        assert!(seen.drawings >= 10, "{seen:?}");
        assert!(seen.empty.is_empty(), "{seen:?}");
        assert!(seen.collisions.is_empty(), "{seen:?}");
        assert!(seen.cut.is_empty(), "{seen:?}");
    }
}

#[test]
fn a_browser_that_finds_fault_is_heard() {
    let broken = "<!DOCTYPE html><p style='width:2000px'>wide</p><svg width='0' height='9'></svg>\
                  <svg width='99' height='20'><text y='12'>one</text><text y='12' x='3'>two</text></svg><script>nowhere.at.all()</script>";
    let (found, complaints) = opened(&[("broken", broken)]);
    assert!(
        complaints.iter().any(|complaint| complaint.contains("nowhere")),
        "{complaints:?}"
    );
    for seen in found {
        assert!(seen.content > seen.width, "{seen:?}");
        assert_eq!(
            (seen.drawings, seen.empty.len(), seen.collisions.len()),
            (2, 1, 1),
            "{seen:?}"
        );
    }
}

#[test]
fn the_page_says_what_the_table_says_and_who_cannot_be_planned() {
    let page = page(&forty(), &[], &["--report-prices", "2"], 2);
    for part in [
        "slo.latency 6ms is below the fastest known configuration of model mlp",
        "GPUs of platform paper",
        "39 of 40",
        "default/vgg19",
        "default/mlp",
        "18 applications",
        "--report-prices",
        "BATCH (SC 2020)",
    ] {
        assert!(page.contains(part), "{part} is missing");
    }
}

#[test]
fn the_same_files_give_the_same_page() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("plan.html");
    let (report, samples) = (report.to_str().unwrap(), sample("samples"));
    let arguments = ["plan", "-f", samples.to_str().unwrap(), "--report", report];
    let written = || {
        assert_eq!(harmonybatch(&arguments, "").status.code(), Some(0));
        std::fs::read_to_string(report).unwrap()
    };
    // The second time it replaces the first.
    assert_eq!(written(), written());
}

#[test]
fn under_the_papers_law_no_other_planner_is_priced() {
    let page = page("", &[sample("samples-paper")], &["--model", "paper"], 0);
    assert!(page.contains("Left out: other planners are priced by the exact law"));
    assert!(!page.contains("BATCH (SC 2020)"));
}

#[test]
fn what_cannot_be_written_is_said_before_anything_is_planned_and_nobodys_file_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("model.yaml");
    std::fs::write(&model, "kind: InferenceModel\n").unwrap();
    let missing = folder.path().join("no/such/plan.html");
    for (report, part) in [
        (folder.path(), "it is a folder"),
        (&model, "it exists and is no report"),
        (&missing, "there is no folder"),
        (Path::new("/dev/null"), "it is no regular file"),
    ] {
        let report = report.to_str().unwrap();
        let samples = sample("samples");
        let output = harmonybatch(&["plan", "-f", samples.to_str().unwrap(), "--report", report], "");
        assert_eq!(output.status.code(), Some(1));
        let error = text(&output.stderr);
        assert!(error.contains(part) && error.contains(report), "{error}");
        assert!(output.stdout.is_empty(), "planned before it looked");
    }
    assert_eq!(std::fs::read_to_string(model).unwrap(), "kind: InferenceModel\n");
}
