// Command legacy does what `kvexpress out` of 1.x did, and no more: four reads one
// after the other, a temporary file with a fixed name, a rename. Without the rest
// of that program, it is a little faster than it was.
//
//	legacy ADDR PREFIX KEY FILE LOCK
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "legacy:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("takes 5 arguments, not %d", len(args))
	}
	addr, dir, file := args[0], args[1]+"/"+args[2]+"/", args[3]
	var rows [4][]byte
	for i, key := range []string{args[4], dir + "stop", dir + "data", dir + "checksum"} {
		var err error
		if rows[i], err = get(addr, key); err != nil {
			return err
		}
	}
	data, checksum := rows[2], string(rows[3])
	sum := sha256.Sum256(data)
	if hex.EncodeToString(sum[:]) != checksum {
		return nil
	}
	if old, err := os.ReadFile(file); err == nil && sha256.Sum256(old) == sum {
		return nil
	}
	temp := file + ".kvexpress"
	if err := os.WriteFile(temp, data, 0o640); err != nil {
		return err
	}
	if err := os.Chown(temp, os.Getuid(), os.Getgid()); err != nil {
		return err
	}
	return os.Rename(temp, file)
}

func get(addr, key string) ([]byte, error) {
	resp, err := http.Get("http://" + addr + "/v1/kv/" + key + "?raw")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusNotFound {
		return nil, nil
	}
	return io.ReadAll(resp.Body)
}
