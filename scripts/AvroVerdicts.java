import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import org.apache.avro.Schema;
import org.apache.avro.SchemaCompatibility;

/** For scripts/avro-java.ts: of each line "reader TAB writer" what Avro's own library finds, as "TYPE place;…" in a line. */
class AvroVerdicts {
  public static void main(String[] args) throws IOException {
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new PrintWriter(new OutputStreamWriter(System.out, StandardCharsets.UTF_8));
    for (String line = in.readLine(); line != null; line = in.readLine()) {
      String[] pair = line.split("\t");
      var reader = new Schema.Parser().parse(pair[0]);
      var writer = new Schema.Parser().parse(pair[1]);
      var found = SchemaCompatibility.checkReaderWriterCompatibility(reader, writer).getResult();
      var told = new StringBuilder();
      for (var each : found.getIncompatibilities()) told.append(each.getType()).append(' ').append(each.getLocation()).append(';');
      out.println(told);
    }
    out.flush();
  }
}
