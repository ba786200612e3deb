package main

import "time"

// sizes is how much the scenarios work on.
type sizes struct {
	// Small is how many commands S1 has, and MessagesEach how many messages each
	// of them deletes.
	Small        int `json:"small"`
	MessagesEach int `json:"messages_each"`
	// Steps are S2's.
	Steps []step `json:"steps"`
	// Long is how many messages S3's conversation has, and Others how many the
	// table holds besides; S4's has WithChildren, and WithForeignKeys where foreign keys refer
	// to them.
	Long            int `json:"long"`
	Others          int `json:"others"`
	WithChildren    int `json:"with_children"`
	WithForeignKeys int `json:"with_foreign_keys"`
	// Chat is how long S5 measures, Rate how many transactions a second people
	// make, and Huge, of HugeEach messages, the conversations that go meanwhile.
	Chat     time.Duration `json:"chat"`
	Rate     int           `json:"rate"`
	Huge     int           `json:"huge"`
	HugeEach int           `json:"huge_each"`
	// Alone is how many commands S6 sends, one after the other, and Amid S7, while
	// AmidHuge conversations of HugeEach messages go.
	Alone    int `json:"alone"`
	Amid     int `json:"amid"`
	AmidHuge int `json:"amid_huge"`
	// Finished is how many commands S8 repeats, and Repeats how often each.
	Finished int `json:"finished"`
	Repeats  int `json:"repeats"`
	// Histories are the lengths of S9's conversations.
	Histories []int `json:"histories"`
	// Logs are how many messages the shared logs have that members hide in S12.
	Logs []int `json:"logs"`
	// PerReplica is how many commands S10 has for each replica.
	PerReplica int `json:"per_replica"`
	// Shards is how many S15 has, and Idle how long it measures without commands.
	Shards int           `json:"shards"`
	Idle   time.Duration `json:"idle"`
}

// step is a size of S2: so many commands of so many messages.
type step struct {
	Commands     int `json:"commands"`
	MessagesEach int `json:"messages_each"`
}

var (
	quickSizes = sizes{
		Small: 8000, MessagesEach: 20, Steps: []step{{8000, 5}, {2000, 100}, {600, 500}},
		Long: 1_000_000, Others: 1_000_000, WithChildren: 500_000, WithForeignKeys: 100_000,
		Chat: 35 * time.Second, Rate: 300, Huge: 8, HugeEach: 1_000_000,
		Alone: 300, Amid: 120, AmidHuge: 4, Finished: 2000, Repeats: 10,
		Histories: []int{10_000, 100_000, 1_000_000}, Logs: []int{20, 20_000}, PerReplica: 500, Shards: 64, Idle: 20 * time.Second,
	}
	fullSizes = sizes{
		Small: 20_000, MessagesEach: 20, Steps: []step{{20_000, 5}, {4000, 100}, {1000, 500}},
		Long: 2_000_000, Others: 1_000_000, WithChildren: 1_000_000, WithForeignKeys: 200_000,
		Chat: 65 * time.Second, Rate: 300, Huge: 10, HugeEach: 1_500_000,
		Alone: 1000, Amid: 300, AmidHuge: 8, Finished: 5000, Repeats: 10,
		Histories: []int{10_000, 100_000, 1_000_000, 10_000_000}, Logs: []int{20, 20_000, 1_000_000}, PerReplica: 1000, Shards: 64, Idle: 30 * time.Second,
	}
	smokeSizes = sizes{
		Small: 200, MessagesEach: 20, Steps: []step{{200, 5}, {20, 500}},
		Long: 20_000, Others: 5000, WithChildren: 10_000, WithForeignKeys: 2000,
		Chat: 500 * time.Millisecond, Rate: 300, Huge: 2, HugeEach: 50_000,
		Alone: 20, Amid: 5, AmidHuge: 1, Finished: 100, Repeats: 3,
		Histories: []int{1000, 5000}, Logs: []int{20, 2000}, PerReplica: 20, Shards: 4, Idle: 500 * time.Millisecond,
	}
)
