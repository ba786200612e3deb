// Hands a user's stored events to the devices that are connected here, as a presence service does:
//
//   java -cp 'lib/*' Presence.java APP USER CURSOR_FILE DEVICE...

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import com.google.gson.JsonParser;
import io.nats.client.Connection;
import io.nats.client.ConsumeOptions;
import io.nats.client.IterableConsumer;
import io.nats.client.Message;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.StreamContext;
import io.nats.client.api.DeliverPolicy;
import io.nats.client.api.OrderedConsumerConfiguration;
import io.nats.client.api.StreamInfo;
import io.nats.client.api.StreamInfoOptions;
import io.nats.client.api.Subject;
import io.nats.client.impl.Headers;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.URLEncoder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

public class Presence {
    static final String STREAM = "CONVERSATION_EVENTS";
    static final PrintStream out = new PrintStream(new FileOutputStream(FileDescriptor.out), true, UTF_8);

    public static void main(String[] args) {
        if (args.length < 4) {
            System.err.println("presence: expected APP USER CURSOR_FILE DEVICE [DEVICE ...]");
            System.exit(1);
        }
        // Each user of deploy/nats has an inbox prefix of its own.
        Options options = Options.builder()
            .server(System.getenv().getOrDefault("NATS_URL", "nats://localhost:4222"))
            .inboxPrefix(System.getenv().getOrDefault("NATS_INBOX_PREFIX", "_INBOX"))
            .maxReconnects(-1)
            .build();
        try (Connection nc = Nats.connect(options)) {
            follow(nc, args[0], args[1], Path.of(args[2]), List.of(args).subList(3, args.length));
        } catch (Exception e) {
            System.err.println("presence: " + STREAM + ": " + e.getMessage());
            System.exit(1);
        }
    }

    static void follow(Connection nc, String app, String user, Path file, List<String> devices) throws Exception {
        StreamContext stream = nc.getStreamContext(STREAM);
        // A service for all users has one consumer, of conversation.*.<app>.*
        String subject = "conversation.*." + token(app) + "." + token(user);
        // The sequence of the last event that was handed over; 0 hands over all that the stream keeps. A real service has one
        // for each device.
        long cursor = Files.exists(file) ? Long.parseLong(Files.readString(file)) : 0;
        StreamInfo info = stream.getStreamInfo(StreamInfoOptions.filterSubjects(subject));
        if (expired(stream, info, cursor)) {
            cursor = info.getStreamState().getLastSequence();
            for (String device : devices) {
                out.println(device + " reload"); // its list, and follow from here
            }
        }
        // An ordered consumer, which the client makes again where it left off: what was missed first, then live. After an
        // outage it does so within 15 s: three heartbeats, two of which fit into a pull.
        IterableConsumer events = stream.createOrderedConsumer(new OrderedConsumerConfiguration()
            .filterSubject(subject)
            .deliverPolicy(DeliverPolicy.ByStartSequence)
            .startSequence(cursor + 1)).iterate(ConsumeOptions.builder().expiresIn(10_000).build());
        Set<String> seen = new HashSet<>();
        while (nc.getStatus() != Connection.Status.CLOSED) {
            Message msg = events.nextMessage(Duration.ofMinutes(1));
            if (msg == null) { // none came; or there is no consumer now, which it says at once
                Thread.sleep(100);
                continue;
            }
            Headers headers = msg.getHeaders() == null ? new Headers() : msg.getHeaders();
            String type = headers.getFirst("ce-type"), text = new String(msg.getData(), UTF_8);
            if (seen.add(headers.getFirst("ce-id"))) { // a repeated event has the same; a real service forgets the oldest
                for (String device : receivers(type, parsed(text), user, devices)) {
                    out.println(device + " " + type + " " + text);
                }
            }
            // After handing over: what is lost in between comes again.
            Files.writeString(file, Long.toString(msg.metaData().streamSequence()));
        }
        throw new IOException("the connection is closed: " + nc.getLastError());
    }

    // expired reports whether events after the cursor may be gone.
    static boolean expired(StreamContext stream, StreamInfo info, long cursor) throws Exception {
        if (cursor == 0) {
            return false;
        }
        if (cursor + 1 < info.getStreamState().getFirstSequence() || cursor > info.getStreamState().getLastSequence()) {
            return true;
        }
        long limit = info.getConfiguration().getMaxMsgsPerSubject();
        for (Subject s : info.getStreamState().getSubjects()) {
            if (limit > 0 && s.getCount() >= limit && stream.getNextMessage(1, s.getName()).getSeq() > cursor + 1) {
                return true;
            }
        }
        return false;
    }

    // receivers chooses the devices that an event is for.
    static List<String> receivers(String type, JsonObject event, String user, List<String> devices) {
        switch (type == null ? "" : type) {
            case "conversation.deleted", "conversation.all_deleted" -> {
                // If another member asked for everyone, that was on none of these devices.
                boolean another = "everyone".equals(text(event, "scope")) && !user.equals(text(event, "requested_by"));
                if (another || "true".equals(text(event, "multi_client_sync"))) {
                    return devices;
                }
            }
            case "conversation.delete_failed" -> { }
            default -> {
                return List.of(); // erased asks nothing of a device; ignore types of newer workers
            }
        }
        String origin = text(event, "origin_device_id");
        return devices.stream().filter(device -> device.equals(origin)).toList();
    }

    // text is a field's value, null where there is none.
    static String text(JsonObject event, String field) {
        return event.has(field) && event.get(field).isJsonPrimitive() ? event.get(field).getAsString() : null;
    }

    // parsed is an event's body, empty for what isn't one: it is nobody's, and would stop each start, too.
    static JsonObject parsed(String text) {
        try {
            return JsonParser.parseString(text).getAsJsonObject();
        } catch (JsonParseException | IllegalStateException e) {
            return new JsonObject();
        }
    }

    // token writes an id as one token of a subject. URLEncoder is for forms, where a space is a plus.
    static String token(String id) {
        return URLEncoder.encode(id, UTF_8).replace("+", "%20").replace(".", "%2E").replace("*", "%2A");
    }
}
