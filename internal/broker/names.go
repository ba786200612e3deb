package broker

import "github.com/lethe-im/lethe/conversation"

// names are the installation's names in NATS, and what is made of them.
type names struct {
	conversation.Names
	commands, events, letters string // the streams
	worker                    string // the workers' consumer
	consumer                  string // the same with its stream, for errors
	api                       string // begins the subjects of JetStream's API
	next                      string // the subject on which commands are asked for
}

func namesOf(n conversation.Names, domain string) names {
	all := names{
		Names: n, commands: n.CommandsStream(), events: n.EventsStream(), letters: n.DeadLettersStream(), worker: n.WorkerConsumer(),
		api: jetstreamAPI,
	}
	if domain != "" {
		all.api = "$JS." + domain + ".API."
	}
	all.consumer = all.commands + "/" + all.worker
	all.next = all.api + "CONSUMER.MSG.NEXT." + all.commands + "." + all.worker
	return all
}

// streams are those of commands, events and dead letters.
func (n names) streams() []string { return []string{n.commands, n.events, n.letters} }
