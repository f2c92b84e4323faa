import com.sun.net.httpserver.HttpExchange;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.security.GeneralSecurityException;
import java.security.KeyFactory;
import java.security.MessageDigest;
import java.security.Signature;
import java.security.spec.X509EncodedKeySpec;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.HexFormat;
import java.util.concurrent.LinkedBlockingQueue;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;
import org.licet.model.Event;

/** What is signed, verified with the JDK alone: webhooks, and receipts. */
class Proofs {
    static final String VKEY = System.getenv("LICET_VKEY").strip();

    // --- webhooks: a server of our own --------------------------------------------------------

    static String secret = "";
    static String forged = "accepted";
    static final LinkedBlockingQueue<Event> TAKEN = new LinkedBlockingQueue<>();

    /** Verifies a request of Standard Webhooks. */
    static boolean isSigned(HttpExchange request, byte[] body) throws GeneralSecurityException {
        String at = request.getRequestHeaders().getFirst("webhook-timestamp");
        if (Math.abs(Instant.now().getEpochSecond() - Long.parseLong(at)) > 300) return false;
        byte[] key = Base64.getDecoder().decode(secret.substring("whsec_".length()));
        Mac mac = Mac.getInstance("HmacSHA256");
        mac.init(new SecretKeySpec(key, "HmacSHA256"));
        String id = request.getRequestHeaders().getFirst("webhook-id");
        mac.update((id + "." + at + ".").getBytes(StandardCharsets.UTF_8));
        String own = "v1," + Base64.getEncoder().encodeToString(mac.doFinal(body));
        String given = request.getRequestHeaders().getFirst("webhook-signature");
        return Arrays.stream(given.split(" "))
                .anyMatch(one -> MessageDigest.isEqual(one.getBytes(), own.getBytes()));
    }

    static void take(HttpExchange request) throws IOException {
        byte[] body = request.getRequestBody().readAllBytes();
        String text = new String(body, StandardCharsets.UTF_8);
        try {
            if (!isSigned(request, text.replace("grt_", "grx_").getBytes())) forged = "refused";
            boolean isSigned = isSigned(request, body);
            if (isSigned) TAKEN.add(Scenario.MARKET.getObjectMapper().readValue(text, Event.class));
            request.sendResponseHeaders(isSigned ? 200 : 400, -1);
        } catch (GeneralSecurityException error) {
            throw new IOException(error);
        }
    }

    // --- receipts: by RFC 6962 and the JDK's Ed25519 ------------------------------------------

    static byte[] hash(int prefix, byte[]... parts) throws GeneralSecurityException {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        digest.update((byte) prefix);
        for (byte[] part : parts) digest.update(part);
        return digest.digest();
    }

    static byte[] entryOf(String receipt) throws IOException {
        String extra = receipt.split("\n")[1].substring("extra ".length());
        byte[] opened = Base64.getDecoder().decode(extra);
        String entry = Scenario.MARKET.getObjectMapper().readTree(opened).get("entry").asText();
        return entry.getBytes(StandardCharsets.UTF_8);
    }

    /** Whether the log's key signed a checkpoint: the text up to its empty line. */
    static boolean isSigned(String text, String[] signatures) throws GeneralSecurityException {
        String[] parts = VKEY.split("\\+", 3);
        byte[] raw = Base64.getDecoder().decode(parts[2]);
        byte[] prefix = HexFormat.of().parseHex("302a300506032b6570032100");
        byte[] der = Arrays.copyOf(prefix, prefix.length + 32);
        System.arraycopy(raw, 1, der, prefix.length, 32);
        Signature ed25519 = Signature.getInstance("Ed25519");
        for (String line : signatures) {
            if (!line.startsWith("— " + parts[0] + " ")) continue;
            byte[] signature = Base64.getDecoder().decode(line.substring(line.lastIndexOf(' ') + 1));
            ed25519.initVerify(KeyFactory.getInstance("Ed25519").generatePublic(new X509EncodedKeySpec(der)));
            ed25519.update(text.getBytes(StandardCharsets.UTF_8));
            if (ed25519.verify(Arrays.copyOfRange(signature, 4, signature.length))) return true;
        }
        return false;
    }

    /** Whether a receipt proves that this entry stands in the market's log. */
    static String verdict(String receipt, byte[] entry) throws GeneralSecurityException {
        String[] parts = receipt.split("\n\n", 3);
        if (!isSigned(parts[1] + "\n", parts[2].split("\n"))) return "refused";
        String[] head = parts[0].split("\n");
        String[] checkpoint = parts[1].split("\n");
        long node = Long.parseLong(head[2].substring("index ".length()));
        long last = Long.parseLong(checkpoint[1]) - 1;
        byte[] root = hash(0, entry);
        // RFC 9162, 2.1.3.2.
        for (String line : Arrays.copyOfRange(head, 3, head.length)) {
            byte[] step = Base64.getDecoder().decode(line);
            if (last == 0) return "refused";
            if (node % 2 == 1 || node == last) {
                root = hash(1, step, root);
                while (node % 2 == 0 && node != 0) {
                    node >>= 1;
                    last >>= 1;
                }
            } else {
                root = hash(1, root, step);
            }
            node >>= 1;
            last >>= 1;
        }
        boolean isRoot = Arrays.equals(root, Base64.getDecoder().decode(checkpoint[2]));
        return last == 0 && isRoot ? "sound" : "refused";
    }
}
