package broker

import "github.com/lethe-im/lethe/conversation"

// names are those that depend on the shard. The streams of events and of dead letters
// are all shards'.
type names struct {
	commands string // the stream
	consumer string // the workers' consumer with its stream, for errors
	next     string // the subject on which commands are asked for
}

func namesOf(shard conversation.Shard) names {
	commands := shard.CommandsStream()
	return names{
		commands: commands,
		consumer: commands + "/" + conversation.WorkerConsumer,
		next:     jetstreamAPI + "CONSUMER.MSG.NEXT." + commands + "." + conversation.WorkerConsumer,
	}
}

// streams are those of commands, events and dead letters.
func (n names) streams() []string {
	return []string{n.commands, conversation.EventsStream, conversation.DeadLettersStream}
}
