// Package localstack runs a real Postgres and a real nats-server on this
// machine without Docker, for the tests, the demo and the benchmarks. The
// worker never links it.
//
// # Nothing stays behind
//
// Each server works in its own temporary folder. What guards it is a small
// shell process that holds one end of a pipe; the other end belongs to this
// process and, for Postgres and for a cluster of nats-servers, to every server
// process. When all of those have gone, by Close or by kill -9, the pipe ends and
// the guard removes the folder. A second pipe stops such a server itself as soon
// as this process is gone.
//
// # Which Postgres
//
// The first folder with both server programs (postgres and initdb, version 13
// or newer) is taken: LETHE_POSTGRES_BIN (of any version), pg_config --bindir, PATH, the folders
// of the usual packages (newest first), and the private copy that "make deps"
// unpacks where it may not install packages. LETHE_POSTGRES_BIN=none leaves the
// private copy alone. Postgres refuses to run as root, so root starts it as the
// user postgres or else nobody.
//
// Linux and macOS.
package localstack
