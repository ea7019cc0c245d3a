package store

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// asConsulEnv makes this test program the "consul" that the tests of Consul's Go
// client start. It names the socket of the fronts (see there).
const asConsulEnv = "KVEXPRESS_E2E_CONSUL"

// asConsul is `consul version -format=json` and `consul agent -config-file FILE`. An
// agent is whatever the other side of the socket starts for that file. It ends when
// it is told to, and both sides end with the connection: nothing outlives a suite that
// was killed.
func asConsul(socket string, args []string) {
	if err := actAsConsul(socket, args); err != nil {
		fmt.Fprintln(os.Stderr, "as consul:", err)
	}
}

func actAsConsul(socket string, args []string) error {
	if len(args) > 0 && args[0] == "version" {
		return json.NewEncoder(os.Stdout).Encode(map[string]string{"Version": "1.22.5"})
	}
	if len(args) < 3 || args[0] != "agent" || args[1] != "-config-file" {
		return fmt.Errorf("no such command: %q", args)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintln(conn, args[2]); err != nil {
		return err
	}
	context.AfterFunc(ctx, func() {
		if c, ok := conn.(*net.UnixConn); ok {
			_ = c.CloseWrite() // the other side ends its server, then the connection
		}
	})
	_, err = io.Copy(os.Stderr, conn) // what went wrong there
	return err
}
