// Package datakit is a client for the Datakit database: branches, commits, transactions, merges and
// watches of a Git repository, which a server shows as files over 9P.
//
//	client, err := datakit.Dial(ctx, "tcp", "localhost:5640")
//	master, err := client.Branch(ctx, "master")
//	tx, err := master.Begin(ctx)
//	defer tx.Abort()
//	err = tx.MakeDirs(ctx, "etc/app")
//	err = tx.CreateFile(ctx, "etc/app/level", []byte("debug"), false)
//	head, err := tx.Commit(ctx, "Say more")
//	level, err := head.Tree().ReadFile(ctx, "etc/app/level")
//
// Everything that a client creates shares one connection and may be used by any number of
// goroutines. If the context of a call ends, the client cancels the request on the server.
//
// A path in a tree has names separated by single slashes. The empty string is the root. A name is
// not empty and is neither "." nor "..".
//
// The methods return errors that can be compared with errors.Is: with fs.ErrExist, fs.ErrNotExist
// and the errors of this package. If the connection is lost, all calls fail with an error that is
// p9.ErrLost. The client does not connect again.
package datakit
