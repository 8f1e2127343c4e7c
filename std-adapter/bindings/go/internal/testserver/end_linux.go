package testserver

import (
	"os/exec"
	"syscall"
)

// endWithParent kills the server if the test ends without stopping it, for example at its timeout.
func endWithParent(server *exec.Cmd) {
	server.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
