# SPDX-License-Identifier: MIT OR Apache-2.0
# nix build: the command with its manual pages, completions and systemd units; nix develop: what it is
# built with.
{
  description = "Capabilities of executables that belong to a user namespace";
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";
  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" ];
      each = make: nixpkgs.lib.genAttrs systems (system: make nixpkgs.legacyPackages.${system});
    in {
      packages = each (pkgs: rec {
        default = nscap;
        nscap = pkgs.rustPlatform.buildRustPackage {
          pname = "nscap";
          version = (builtins.fromTOML (builtins.readFile ./Cargo.toml)).workspace.package.version;
          src = self;
          cargoLock.lockFile = ./Cargo.lock;
          cargoBuildFlags = [ "-p" "nscap" ];
          # The tests need root, a /dev/fuse and other programs: ./test runs them.
          doCheck = false;
          nativeBuildInputs = [ pkgs.installShellFiles ];
          postInstall = ''
            mkdir man
            $out/bin/nscap generate man man
            installManPage man/man*/*
            for shell in bash zsh fish; do
              installShellCompletion --cmd nscap --$shell <($out/bin/nscap generate completions $shell)
            done
            install -D -m 644 -t $out/lib/systemd/system crates/nscap/systemd/nscap@.service
            substituteInPlace $out/lib/systemd/system/nscap@.service --replace-fail /usr/bin/nscap $out/bin/nscap
            ln -s nscap $out/bin/mount.nscap
          '';
          meta = {
            description = "Capabilities of executables that belong to a user namespace";
            license = with pkgs.lib.licenses; [ mit asl20 ];
            platforms = systems;
            mainProgram = "nscap";
          };
        };
      });
      devShells = each (pkgs: {
        default = pkgs.mkShell { packages = with pkgs; [ cargo rustc clippy rustfmt gcc ]; };
      });
    };
}
