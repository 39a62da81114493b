import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.Map;

import org.springframework.vault.authentication.TokenAuthentication;
import org.springframework.vault.client.VaultEndpoint;
import org.springframework.vault.core.VaultTemplate;
import org.springframework.vault.core.VaultTransitOperations;
import org.springframework.vault.support.*;

/** Makes the calls of Spring Vault's transit template: java Transit.java URL; the token comes by TOKEN. */
public class Transit {
    static void same(Object got, Object want) {
        if (!want.equals(got)) {
            throw new AssertionError("got " + got + ", want " + want);
        }
    }

    public static void main(String[] args) throws Exception {
        VaultEndpoint endpoint = VaultEndpoint.from(java.net.URI.create(args[0]));
        VaultTemplate vault = new VaultTemplate(endpoint, new TokenAuthentication(System.getenv("TOKEN")));
        VaultTransitOperations transit = vault.opsForTransit("transit");

        transit.createKey("plain");
        transit.createKey("derived", VaultTransitKeyCreationRequest.builder().derived(true)
                .convergentEncryption(true).build());
        transit.createKey("signer", VaultTransitKeyCreationRequest.ofKeyType("ecdsa-p256"));
        transit.createKey("exported", VaultTransitKeyCreationRequest.builder().exportable(true).build());
        same(transit.getKeys().containsAll(List.of("plain", "derived", "signer")), true);

        String ciphertext = transit.encrypt("plain", "hello");
        same(transit.decrypt("plain", ciphertext), "hello");
        byte[] bytes = {0, 1, 2, (byte) 255};
        VaultTransitContext context = VaultTransitContext.builder().context("tenant".getBytes()).build();
        String first = transit.encrypt("derived", bytes, context);
        same(first, transit.encrypt("derived", bytes, context));
        same(Arrays.equals(transit.decrypt("derived", first, context), bytes), true);

        List<VaultEncryptionResult> sealed = transit.encrypt("plain",
                List.of(Plaintext.of("one"), Plaintext.of("two")));
        List<VaultDecryptionResult> opened = transit.decrypt("plain",
                List.of(sealed.get(0).get(), sealed.get(1).get()));
        same(opened.get(1).getAsString(), "two");
        try { // one wrong item makes the batch a 400, as in Vault
            transit.decrypt("plain", List.of(sealed.get(0).get(), Ciphertext.of("vault:v1:junk")));
            throw new AssertionError("junk decrypts");
        } catch (org.springframework.vault.VaultException e) {
            same(e.getMessage().contains("invalid ciphertext length"), true);
        }

        transit.rotate("plain");
        same(transit.getKey("plain").getLatestVersion(), 2);
        String rewrapped = transit.rewrap("plain", ciphertext);
        same(rewrapped.startsWith("vault:v2:"), true);
        same(transit.decrypt("plain", rewrapped), "hello");

        Plaintext message = Plaintext.of("message");
        Signature signature = transit.sign("signer", message);
        same(transit.verify("signer", message, signature), true);
        same(transit.verify("signer", Plaintext.of("another"), signature), false);
        VaultSignatureVerificationRequest hmac = VaultSignatureVerificationRequest.create(message,
                transit.getHmac("plain", message));
        same(transit.verify("plain", hmac).isValid(), true);

        same(transit.exportKey("exported", TransitKeyType.ENCRYPTION_KEY).getKeys().size(), 1);
        transit.configureKey("plain", VaultTransitKeyConfiguration.builder().deletionAllowed(true)
                .minDecryptionVersion(2).build());
        try {
            transit.decrypt("plain", ciphertext);
            throw new AssertionError("a version below the minimum decrypts");
        } catch (org.springframework.vault.VaultException e) {
            same(e.getMessage().contains("too old"), true);
        }
        transit.deleteKey("plain");
        same(transit.getKey("plain") == null, true);
        System.out.println("done");
    }
}
