// Publishes one deletion, as a gateway does when a user asks for it:
//
//   java -cp 'lib/*' Gateway.java APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.gson.Gson;
import io.nats.client.Connection;
import io.nats.client.JetStreamApiException;
import io.nats.client.Nats;
import io.nats.client.Options;
import io.nats.client.api.PublishAck;
import java.io.IOException;
import java.net.URLEncoder;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import java.util.UUID;

public class Gateway {
    public static void main(String[] args) {
        if (args.length < 5) {
            System.err.println("gateway: expected APP USER DEVICE CONVERSATION THROUGH_SEQ [COMMAND_ID]");
            System.exit(1);
        }
        String app = args[0], user = args[1], device = args[2], conversation = args[3];
        long throughSeq = Long.parseLong(args[4]); // the greatest seq that the device showed
        String commandId = args.length > 5 ? args[5] : UUID.randomUUID().toString(); // a real gateway keeps it with the user's request
        String command = new Gson().toJson(Map.of(
            "command_id", commandId,
            "app_id", app,
            "user_id", user,
            "device_id", device,
            "conversations", List.of(Map.of("id", conversation, "through_seq", throughSeq)),
            "requested_at", Instant.now().toString()));
        // Each user of deploy/nats has an inbox prefix of its own.
        Options options = Options.builder()
            .server(System.getenv().getOrDefault("NATS_URL", "nats://localhost:4222"))
            .inboxPrefix(System.getenv().getOrDefault("NATS_INBOX_PREFIX", "_INBOX"))
            .build();
        try (Connection nc = Nats.connect(options)) {
            PublishAck ack = publish(nc, "conversation.delete." + token(app), command, commandId);
            System.out.println("stored " + commandId + " in " + ack.getStream() + " at " + ack.getSeqno());
        } catch (Exception e) {
            System.err.println("gateway: " + e.getMessage());
            System.exit(1);
        }
    }

    // token writes an id as one token of a subject. URLEncoder is for forms, where a space is a plus.
    static String token(String id) {
        return URLEncoder.encode(id, UTF_8).replace("+", "%20").replace(".", "%2E").replace("*", "%2A");
    }

    // publish stores the command and returns the stream's acknowledgement. Where none comes it publishes again: with the same
    // command_id it is still one deletion. It sets no message id, since all apps share the stream's window for duplicates.
    static PublishAck publish(Connection nc, String subject, String command, String commandId) throws Exception {
        for (int wait = 1; ; wait *= 2) {
            Exception failed;
            try {
                return nc.jetStream().publish(subject, command.getBytes(UTF_8));
            } catch (JetStreamApiException e) {
                // 10077: a limit, mostly of the app's unfinished commands; workers will finish some. Any other refusal is final.
                if (e.getApiErrorCode() != 10077) {
                    throw e;
                }
                failed = e;
            } catch (IOException e) { // no answer, or the status 503: nobody listens, for which the client has no type
                if (String.valueOf(e.getMessage()).contains("503")) {
                    throw new IOException("no stream takes " + subject + ": run \"worker setup\"", e);
                }
                failed = e;
            }
            if (wait > 8) {
                throw failed;
            }
            System.err.println("gateway: " + failed.getMessage() + ": publishing " + commandId + " again in " + wait + " s");
            Thread.sleep(wait * 1000L);
        }
    }
}
