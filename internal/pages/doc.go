// Package pages reads the commands on the project's pages, so that tests can run
// them and check that what they name exists. It is for tests alone.
//
// # Pages that are run
//
// [Session.Run] runs a whole page as a reader would who copies one block after the
// other into a shell. What a block is stands behind its first fence, where a reader
// of the page doesn't see more than the language:
//
//	```sh             commands, without prompts. They share one bash, in order. Each
//	                  must succeed.
//	```sh exit=1      the last command ends with this status
//	```sh beside      runs until the page's end, beside what follows: another terminal
//	```text           what the sh block right before it prints, on both outputs
//	```yaml plan.yaml what the file holds now, in the folder of the session; any
//	                  language and name, with a dot in it
//
// Other blocks are for reading, but one without a language that looks like commands is
// an error. How what is shown is compared: [Match]. So a page shortens an output with
// "…", and shows real times and ids.
//
// An address on the page becomes the test's by [Session.Instead]. A block that can't
// run in a test stands in [Session.NotRun] with the reason; the page has no mark for it.
// What a block waits for it waits for itself, such as send --wait.
package pages
