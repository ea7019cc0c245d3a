// Command bare makes the requests of kvexpress, and does nothing else: the floor
// that the benchmarks compare with.
//
//	bare read ADDR PREFIX KEY LOCK
//	bare publish ADDR PREFIX KEY FILE
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
)

type operation struct{ KV row }

type row struct {
	Verb  string
	Key   string
	Value []byte `json:",omitempty"`
	Index uint64 `json:",omitempty"`
}

type answer struct {
	Results []struct {
		KV struct {
			Key         string
			ModifyIndex uint64
		}
	}
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bare:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 5 {
		return fmt.Errorf("takes 5 arguments, not %d", len(args))
	}
	addr, dir := args[1], args[2]+"/"+args[3]+"/"
	switch args[0] {
	case "read":
		_, err := txn(addr, get(dir+"checksum"), get(dir+"manifest"), get(dir+"stop"), get(args[4]))
		return err
	case "publish":
		return publish(addr, args[2], args[3], dir, args[4])
	}
	return fmt.Errorf("%q is not one of its requests", args[0])
}

func get(key string) operation { return operation{row{Verb: "get-or-empty", Key: key}} }

func publish(addr, prefix, key, dir, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	stands, err := txn(addr, get(dir+"data"), get(dir+"checksum"), get(dir+"manifest"), get(dir+"stop"))
	if err != nil {
		return err
	}
	index := map[string]uint64{}
	for _, r := range stands.Results {
		index[r.KV.Key] = r.KV.ModifyIndex
	}
	cas := func(name string, value []byte) operation {
		return operation{row{Verb: "cas", Key: dir + name, Value: value, Index: index[dir+name]}}
	}
	sum := sha256.Sum256(content)
	manifest := bytes.Repeat([]byte("x"), 400)
	history := prefix + "/.history/" + key + "/"
	_, err = txn(addr,
		cas("data", content),
		cas("checksum", []byte(hex.EncodeToString(sum[:]))),
		cas("manifest", append(manifest, sum[:]...)),
		operation{row{Verb: "check-not-exists", Key: dir + "stop"}},
		operation{row{Verb: "set", Key: history + "2/manifest", Value: manifest}},
		operation{row{Verb: "set", Key: history + "2/data", Value: content[:len(content)/5]}},
		operation{row{Verb: "delete", Key: history + "1/manifest"}},
		operation{row{Verb: "delete", Key: history + "1/data"}},
	)
	return err
}

func txn(addr string, ops ...operation) (answer, error) {
	var a answer
	body, err := json.Marshal(ops)
	if err != nil {
		return a, err
	}
	req, err := http.NewRequest(http.MethodPut, "http://"+addr+"/v1/txn", bytes.NewReader(body))
	if err != nil {
		return a, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("status %d: %s", resp.StatusCode, got)
	}
	return a, json.Unmarshal(got, &a)
}
