import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Publishes to pushd with what Java 11 or newer brings along; safe for any number of threads.
 *
 * <pre>
 * var push = new PushdPublisher("http://127.0.0.1:8080", System.getenv("PUSHD_API_KEY"));
 * push.publish("user:alice:orders", "{\"order\":17,\"state\":\"paid\"}", "order-17-paid");
 * push.publishTo("{\"users\":[\"alice\",\"bob\"],\"groups\":[\"staff\"]}", "\"hello\"", null);
 * </pre>
 *
 * <p>When one of these returns, the message is on disk. After a time-out, a lost connection or an
 * error of the server the outcome is unknown: it is sent again, with the same id, and stored once.
 */
public final class PushdPublisher {
    /**
     * What the server said in the end; {@code code} is stable (docs/errors.md). After a 4xx or 507
     * nothing was stored, after another 5xx that is unknown.
     */
    public static final class Refused extends IOException {
        private static final long serialVersionUID = 1;
        public final int status;
        public final String code;

        Refused(int status, String code, String problem) {
            super(status + " " + code + ": " + problem);
            this.status = status;
            this.code = code;
        }
    }

    private static final Duration ATTEMPT = Duration.ofSeconds(10);
    private static final Pattern CODE = Pattern.compile("\"code\":\"([a-z_]+)\"");

    private final HttpClient http =
            HttpClient.newBuilder()
                    .version(HttpClient.Version.HTTP_1_1)
                    .connectTimeout(Duration.ofSeconds(5))
                    .build();
    private final String url;
    private final String key;
    private final Duration patience;

    public PushdPublisher(String url, String key) {
        this(url, key, Duration.ofSeconds(60));
    }

    /** {@code patience}: how long is tried, in all, before an IOException is thrown. */
    public PushdPublisher(String url, String key, Duration patience) {
        this.url = url.endsWith("/") ? url.substring(0, url.length() - 1) : url;
        this.key = key;
        this.patience = patience;
    }

    /**
     * One message to one channel: {@code news}, {@code user:alice}, {@code group:staff}, {@code all}.
     *
     * @param data JSON, as your JSON library makes it
     * @param id names the message, so that publishing it again is publishing it once, also from
     *     another process; null: a random one, which covers the retries of this call
     * @return the server's answer, JSON: channel, epoch, seq, id, at
     */
    public String publish(String channel, String data, String id)
            throws IOException, InterruptedException {
        return send("/v1/channels/" + encode(channel) + "/messages", message(data, id));
    }

    /**
     * One message to many, in one transaction.
     *
     * @param to JSON: channels, users, groups, sessions, all
     */
    public String publishTo(String to, String data, String id)
            throws IOException, InterruptedException {
        return send("/v1/publish", "{\"to\":" + to + ",\"message\":" + message(data, id) + "}");
    }

    private static String message(String data, String id) {
        String named = id == null ? UUID.randomUUID().toString() : id;
        return "{\"data\":" + data + ",\"id\":" + quote(named) + "}";
    }

    /** The same bytes again, until the outcome is known. */
    private String send(String path, String body) throws IOException, InterruptedException {
        HttpRequest request =
                HttpRequest.newBuilder(URI.create(url + path))
                        .header("Authorization", "Bearer " + key)
                        .header("Content-Type", "application/json")
                        .timeout(ATTEMPT)
                        .POST(HttpRequest.BodyPublishers.ofString(body))
                        .build();
        long end = System.nanoTime() + patience.toNanos();
        for (int attempt = 0; ; attempt++) {
            IOException trouble;
            long waitMs = 0;
            try {
                HttpResponse<String> answer =
                        http.send(request, HttpResponse.BodyHandlers.ofString());
                if (answer.statusCode() < 300) {
                    return answer.body();
                }
                trouble = refusal(answer);
                if (!isPassing(answer.statusCode())) {
                    throw trouble;
                }
                waitMs = 1000 * answer.headers().firstValueAsLong("Retry-After").orElse(0);
            } catch (Refused refused) {
                throw refused;
            } catch (IOException unknown) { // no connection, a lost one, a time-out
                trouble = unknown;
            }
            long mostMs = Math.min(10_000L, 250L << Math.min(attempt, 10));
            waitMs += ThreadLocalRandom.current().nextLong(mostMs);
            if (System.nanoTime() + waitMs * 1_000_000 > end) {
                throw trouble;
            }
            Thread.sleep(waitMs);
        }
    }

    /** Come later, or unknown. A full disk (507) is a no: it does not empty itself. */
    private static boolean isPassing(int status) {
        return status == 408 || status == 429 || (status >= 500 && status != 507);
    }

    private static Refused refusal(HttpResponse<String> answer) {
        Matcher code = CODE.matcher(answer.body());
        return new Refused(
                answer.statusCode(), code.find() ? code.group(1) : "unknown", answer.body());
    }

    /** A name as part of a path. */
    private static String encode(String name) {
        StringBuilder path = new StringBuilder();
        for (byte each : name.getBytes(StandardCharsets.UTF_8)) {
            if (each >= '0' && each <= '9'
                    || each >= 'a' && each <= 'z'
                    || each >= 'A' && each <= 'Z'
                    || "-._~:".indexOf(each) >= 0) {
                path.append((char) each);
            } else {
                path.append(String.format("%%%02X", each));
            }
        }
        return path.toString();
    }

    /** A text as JSON. */
    public static String quote(String text) {
        StringBuilder json = new StringBuilder("\"");
        for (char each : text.toCharArray()) {
            if (each == '"' || each == '\\') {
                json.append('\\').append(each);
            } else if (each < ' ') {
                json.append(String.format("\\u%04x", (int) each));
            } else {
                json.append(each);
            }
        }
        return json.append('"').toString();
    }

    /** {@code java PushdPublisher.java URL CHANNEL}: a message for each line that comes in. */
    public static void main(String[] arguments) throws IOException, InterruptedException {
        if (arguments.length != 2 || System.getenv("PUSHD_API_KEY") == null) {
            System.err.println("usage: PUSHD_API_KEY=… java PushdPublisher.java URL CHANNEL");
            System.exit(2);
        }
        PushdPublisher push = new PushdPublisher(arguments[0], System.getenv("PUSHD_API_KEY"));
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        BufferedReader lines =
                new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            out.println(push.publish(arguments[1], quote(line), null));
        }
    }
}
