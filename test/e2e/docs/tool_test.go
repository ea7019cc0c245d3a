package docs

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// toolEnv makes this test program a systemctl, pkill or getent of one of the page's
// machines: it names the socket of that machine's supervisor, which does the work.
const toolEnv = "KVEXPRESS_E2E_TOOL"

// asTool prints the exit code, and below what the tool says.
func asTool(socket string, args []string) {
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(context.Background(), "unix", socket)
	if err != nil {
		fmt.Fprintf(os.Stdout, "1\n%v\n", err)
		return
	}
	defer conn.Close()
	if err := json.NewEncoder(conn).Encode(args); err != nil {
		fmt.Fprintf(os.Stdout, "1\n%v\n", err)
		return
	}
	_, _ = io.Copy(os.Stdout, conn) // an answer that is cut off fails the script
}
