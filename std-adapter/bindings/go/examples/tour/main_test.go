package main

import (
	"os/exec"
	"testing"

	"github.com/datakit-rs/datakit/std-adapter/bindings/go/internal/testserver"
)

func TestTourPrintsTheOutputInTheReadme(t *testing.T) {
	output, err := exec.Command("go", "run", ".", testserver.Start(t)).CombinedOutput()
	const want = `the new content is: hello
etc/motd
usr/share/doc/copyright
read etc/shadow: No such file or directory true
`
	if err != nil || string(output) != want {
		t.Fatalf("the program printed %q, %v", output, err)
	}
}
