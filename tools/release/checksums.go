package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const (
	sums      = "SHA256SUMS"
	signature = sums + ".sig"
	// signer and namespace are what `ssh-keygen -Y verify` asks for.
	signer, namespace = "kvexpress", "file"
)

// checksums are the lines of SHA256SUMS for the files in a folder, as `sha256sum` prints them.
func checksums(dir string) (string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, e := range entries {
		if e.Name() == sums || e.Name() == signature {
			continue
		}
		content, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "%x  %s\n", sha256.Sum256(content), e.Name())
	}
	return b.String(), nil
}

// sign writes SHA256SUMS, and a signature over it by an SSH key: a file with a key, or one whose key the SSH agent or a
// hardware token has. It may ask for the passphrase.
func sign(dir, key string) error {
	lines, err := checksums(dir)
	if err != nil {
		return err
	}
	err = create(filepath.Join(dir, sums), func(w io.Writer) error {
		_, err := io.WriteString(w, lines)
		return err
	})
	if err != nil {
		return err
	}
	return sshKeygen(nil, "-Y", "sign", "-f", key, "-n", namespace, filepath.Join(dir, sums))
}

// verifySums verifies the signature in a folder, as users do, and that the folder has exactly the files with these checksums.
func verifySums(dir, key string) (err error) {
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "kvexpress-signers-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	signers := filepath.Join(temp, "signers")
	err = os.WriteFile(signers, append([]byte(signer+" "), public...), 0o600) //nolint:gosec // the folder is ours
	if err != nil {
		return err
	}
	signed, err := os.ReadFile(filepath.Join(dir, sums))
	if err != nil {
		return err
	}
	err = sshKeygen(strings.NewReader(string(signed)), "-Y", "verify", "-f", signers, "-I", signer, "-n", namespace,
		"-s", filepath.Join(dir, signature))
	if err != nil {
		return err
	}
	lines, err := checksums(dir)
	if err == nil && lines != string(signed) {
		err = fmt.Errorf("%s does not have the checksums of the files in %s; they are\n%s", sums, dir, lines)
	}
	return err
}

func sshKeygen(input io.Reader, args ...string) error {
	cmd := exec.Command("ssh-keygen", args...) //nolint:noctx // it may wait for a passphrase
	cmd.Stdin, cmd.Stdout, cmd.Stderr = input, os.Stdout, os.Stderr
	if input == nil {
		cmd.Stdin = os.Stdin
	}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("ssh-keygen %s: %w", strings.Join(args[:2], " "), err)
	}
	return nil
}
