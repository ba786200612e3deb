package conversation_test

import (
	"strings"
	"testing"

	"github.com/lethe-im/lethe/conversation"
)

func TestIdentifyReadsWhomToTell(t *testing.T) {
	t.Parallel()
	all := conversation.Identity{AppID: "a", UserID: "u", CommandID: "1", DeviceID: "d"}
	none := conversation.Identity{}
	without := func(change func(*conversation.Identity)) conversation.Identity {
		id := all
		change(&id)
		return id
	}
	noApp := without(func(id *conversation.Identity) { id.AppID = "" })
	noUser := without(func(id *conversation.Identity) { id.UserID = "" })
	noCommand := without(func(id *conversation.Identity) { id.CommandID = "" })
	noDevice := without(func(id *conversation.Identity) { id.DeviceID = "" })
	const head = `{"app_id":"a","user_id":"u","command_id":"1","device_id":"d"`
	for name, row := range map[string]struct {
		data string
		want conversation.Identity
	}{
		"no conversations":                {head + `}`, all},
		"conversations of a wrong type":   {head + `,"conversations":7}`, all},
		"escaped names and values":        {`{"app\u005fid":"\u0061","user_id":"u","command_id":"1","device_id":"d"}`, all},
		"bad UTF-8 elsewhere":             {head + ",\"x\":\"\xff\"}", all},
		"bad UTF-8 in another name":       {head + ",\"app_id\xff\":\"b\"}", all},
		"bad UTF-8 in an escaped name":    {head + ",\"app\\u005fid\xff\":\"b\"}", all},
		"a lone surrogate in a name":      {head + `,"app_id\ud800":"b"}`, all},
		"a lone surrogate elsewhere":      {head + `,"x":"\ud800"}`, all},
		"bad UTF-8 in the user":           {strings.Replace(head, `"u"`, "\"u\xff\"", 1) + `}`, noUser},
		"a lone surrogate in the user":    {strings.Replace(head, `"u"`, `"\udc00"`, 1) + `}`, noUser},
		"a control character in the user": {strings.Replace(head, `"u"`, `"u\u0000"`, 1) + `}`, noUser},
		"a user that is a number":         {strings.Replace(head, `"u"`, `1`, 1) + `}`, noUser},
		"an empty user":                   {strings.Replace(head, `"u"`, `""`, 1) + `}`, noUser},
		"a user of 900 KB":                {strings.Replace(head, `"u"`, `"`+strings.Repeat("u", 900<<10)+`"`, 1) + `}`, noUser},
		"the app twice":                   {head + `,"app_id":"b"}`, noApp},
		"the app twice and the same":      {head + `,"app_id":"a"}`, noApp},
		"the app thrice":                  {head + `,"app_id":"a","app_id":"a"}`, noApp},
		"the app twice, once null":        {head + `,"app\u005fid":null}`, noApp},
		"the command twice":               {head + `,"command_id":"2"}`, noCommand},
		"the device twice":                {head + `,"device_id":"e"}`, noDevice},
		"the user twice":                  {head + `,"user_id":"v"}`, noUser},
		"the app within something else":   {head + `,"x":{"app_id":"b"}}`, all},
		"another case":                    {head + `,"APP_ID":"b"}`, all},
		"a command that is valid":         {least(`,"device_id":"d"`), all},
		"an array":                        {"[" + head + "}]", none},
		"nothing":                         {"", none},
		"white space":                     {"  ", none},
		"a truncated object":              {head, none},
		"trailing data":                   {head + "}{}", none},
		"garbage":                         {"\x00\x01\x02", none},
		"bottomless nesting":              {strings.Repeat(`{"app_id":`, 100_000), none},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := conversation.Identify([]byte(row.data)); got != row.want {
				t.Errorf("Identify(%.200q) = %+v; want %+v", row.data, got, row.want)
			}
		})
	}
}
