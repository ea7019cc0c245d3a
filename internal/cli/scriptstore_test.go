package cli

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"

	"kvexpress/internal/record"
)

// kv reads and changes the store past kvexpress:
//
//	kv put PATH FILE [FLAGS]
//	kv cat PATH        prints the value to stdout
//	[!] kv has PATH
//	kv del PATH
//	kv dump            prints all rows below $PREFIX to stdout, one line each
func cmdKV(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "kv put PATH FILE [FLAGS] | kv cat PATH | [!] kv has PATH | kv del PATH | kv dump"
	usageError(ts, len(args) == 0, usage)
	usageError(ts, args[0] != "dump" && len(args) < 2 || neg && args[0] != "has", usage)
	switch args[0] {
	case "put":
		usageError(ts, len(args) < 3, usage)
		query := ""
		if len(args) == 4 {
			query = "?flags=" + args[3]
		}
		status, body := request(ts, http.MethodPut, "/v1/kv/"+args[1]+query, []byte(ts.ReadFile(args[2])))
		if status != http.StatusOK || strings.TrimSpace(string(body)) != "true" {
			ts.Fatalf("kv put %s: %d: %s", args[1], status, body)
		}
	case "cat":
		status, body := request(ts, http.MethodGet, "/v1/kv/"+args[1]+"?raw", nil)
		if status != http.StatusOK {
			ts.Fatalf("kv cat %s: %d", args[1], status)
		}
		_, err := ts.Stdout().Write(body)
		ts.Check(err)
	case "has":
		status, _ := request(ts, http.MethodGet, "/v1/kv/"+args[1], nil)
		if has := status == http.StatusOK; has == neg {
			ts.Fatalf("kv has %s: %t", args[1], has)
		}
	case "del":
		request(ts, http.MethodDelete, "/v1/kv/"+args[1], nil)
	case "dump":
		dumpStore(ts)
	default:
		usageError(ts, true, usage)
	}
}

func dumpStore(ts *testscript.TestScript) {
	out := ts.Stdout() // empty, if there is no row
	status, body := request(ts, http.MethodGet, "/v1/kv/"+ts.Getenv("PREFIX")+"/?recurse", nil)
	if status == http.StatusNotFound {
		return
	}
	var rows []struct {
		Key         string
		Flags       uint64
		ModifyIndex uint64
		Value       []byte
	}
	ts.Check(json.Unmarshal(body, &rows))
	for _, row := range rows {
		_, err := fmt.Fprintln(out, row.Key, row.Flags, row.ModifyIndex, record.Checksum(row.Value))
		ts.Check(err)
	}
}

func request(ts *testscript.TestScript, method, path string, body []byte) (int, []byte) {
	store, _ := ts.Value(storeKey{}).(*scriptStore)
	status, answer, err := store.request(method, path, store.token, body)
	ts.Check(err)
	return status, answer
}

// newtoken NAME FILE makes a token that may do what the policy in the file allows,
// and puts it into the variable. PREFIX in the file is $PREFIX.
func cmdNewToken(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 2, "newtoken NAME FILE")
	store, _ := ts.Value(storeKey{}).(*scriptStore)
	token, err := store.newToken(strings.ReplaceAll(ts.ReadFile(args[1]), "PREFIX", ts.Getenv("PREFIX")))
	ts.Check(err)
	ts.Setenv(args[0], token)
}

// lockrow NAME FILE puts the path of the row that locks a file, by its absolute
// name on this node, into the variable.
func cmdLockRow(ts *testscript.TestScript, neg bool, args []string) {
	usageError(ts, neg || len(args) != 2, "lockrow NAME FILE")
	sum := sha256.Sum256([]byte(args[1]))
	ts.Setenv(args[0], fmt.Sprintf("%s/locks/%x/%s", ts.Getenv("PREFIX"), sum, ts.Getenv("HOST")))
}
