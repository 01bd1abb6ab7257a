// SPDX-License-Identifier: MIT OR Apache-2.0
//! Builds the probe that scenarios execute and hands it to the runner as bytes, so that the runner
//! is one self-contained file. Static where the C library allows it: an exec of it then needs no
//! other file.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const SOURCE: &str = "src/bin/nscap-probe.rs";

fn main() -> ExitCode {
    println!("cargo::rerun-if-changed={SOURCE}");
    let Some(out) = std::env::var_os("OUT_DIR").map(|dir| PathBuf::from(dir).join("nscap-probe"))
    else {
        eprintln!("OUT_DIR is not set: this is a build script of cargo");
        return ExitCode::FAILURE;
    };
    if compile(&out, true) || compile(&out, false) {
        println!("cargo::rustc-env=NSCAP_PROBE={}", out.display());
        return ExitCode::SUCCESS;
    }
    eprintln!("cannot compile {SOURCE}");
    ExitCode::FAILURE
}

fn compile(out: &Path, fixed: bool) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let target = std::env::var("TARGET").unwrap_or_default();
    let mut command = Command::new(rustc);
    command.args(["--edition=2024", "-O", "-Cpanic=abort", "-Cstrip=symbols", "--target", &target]);
    if fixed {
        command.args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static"]);
    }
    // The one that this target is said to have.
    if let Ok(linker) = std::env::var("RUSTC_LINKER") {
        command.arg(format!("-Clinker={linker}"));
    }
    command.arg(SOURCE).arg("-o").arg(out);
    command.status().is_ok_and(|status| status.success())
}
