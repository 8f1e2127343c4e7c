// Package testserver starts the datakit program for tests.
package testserver

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// startTimeout is the maximum time that Start waits for the server to print its address.
const startTimeout = 20 * time.Second

// Start runs `datakit serve` with the given options until the test ends. The DATAKIT environment
// variable contains the program's path. Start returns the address on which the server listens.
func Start(t testing.TB, options ...string) string {
	t.Helper()
	address, stop, err := Run(options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// Run starts the server. The caller must call stop, which kills the server and waits for it to
// exit.
func Run(options ...string) (address string, stop func(), err error) {
	program := os.Getenv("DATAKIT")
	if program == "" {
		return "", nil, fmt.Errorf("the environment variable DATAKIT must name the program datakit")
	}
	args := append([]string{"serve", "--listen-9p", "tcp://127.0.0.1:0", "-q"}, options...)
	return run(program, args...)
}

// StartSettings runs the settings example, which serves parameters, until the test ends.
// StartSettings returns the address on which the example listens. It skips the test if the example
// has not been built. Cargo builds the examples into a directory next to the programs.
func StartSettings(t testing.TB) string {
	t.Helper()
	program := filepath.Join(filepath.Dir(os.Getenv("DATAKIT")), "examples", "settings")
	if _, err := os.Stat(program); err != nil {
		t.Skip(err)
	}
	address, stop, err := run(program, "tcp://127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(stop)
	return address
}

// run starts a program that prints the address on which it listens.
func run(program string, args ...string) (address string, stop func(), err error) {
	server := exec.Command(program, args...)
	server.Stderr = os.Stderr
	endWithParent(server)
	stdout, err := server.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := server.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		server.Process.Kill()
		server.Wait()
	}
	timer := time.AfterFunc(startTimeout, func() { server.Process.Kill() })
	defer timer.Stop()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	const prefix = "listening on tcp://"
	if err != nil || !strings.HasPrefix(line, prefix) {
		stop()
		return "", nil, fmt.Errorf("%s printed %q instead of its address: %v", program, line, err)
	}
	return strings.TrimSpace(strings.TrimPrefix(line, prefix)), stop, nil
}
