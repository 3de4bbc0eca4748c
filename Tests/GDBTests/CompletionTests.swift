import Foundation
import Testing

/// What the Tab key offers, as GDB's own `complete` lists it.
@Suite(.serialized, .timeLimit(.minutes(5))) struct CompletionTests {
  /// Lines that are complete but for their end.
  static let lines = [
    "iommu wal", "iommu d", "iommu status -", "iommu walk 0 ", "iommu walk 0 -d", "iommu walk 0 -root 0 -",
    "iommu walk 0 -root 0 -mode ", "iommu walk 0 -root 0 -mode sv39 -", "iommu walk 0 -device 0000:00:01.0 -",
    "iommu walk 0 -frob -", "iommu walk '", "iommu predict 1 2 3 4 -", "iommu break ", "iommu break u",
    "iommu break map -when ", "iommu break map -when always -", "iommu break off ", "iommu record map -c",
    "iommu dump -", "iommu dump -flags r", "iommu dump -flags rwxvugad", "iommu dump -o gdb-scripts/iomm",
    "iommu dump -o gdb-scripts/iommulens/gd", "iommu dump -o /nonexistent/", "iommu check -", "iommu timeline -last ",
    "iommu timeline -l", "iommu open READ", "iommu import READ", "iommu import README.md LIC", "iommu export READ",
    "iommu note ", "set iommu ", "set iommu memory ", "set iommu file READ",
  ]

  static func completing(_ lines: [String]) -> String {
    // Through `gdb.execute`, the blank at a line's end would be lost.
    lines.map { "echo <\($0)>\\n\ncomplete \($0)\n" }.joined()
  }

  @Test(arguments: Host.gdbs) func ofAllArguments(gdb: Host) async throws {
    // Names of files that this test does not know of may come and go.
    let output = try await Guest.alone(Self.completing(Self.lines), gdb: gdb)
    try expectKnown(output.replacing(/.*__pycache__.*\n/, with: ""), "completions.txt")
  }

  /// Devices and domains that the investigation names; nothing is asked of the guest, of which every question would end GDB.
  @Test func ofWhatIsKnown() async throws {
    let output = try await Guest().debug(
      """
      iommu open $DIR/test.iommulens
      iommu record
      hbreak lab_workload_done
      continue
      python
      from iommulens.gdb.debugger import Debugger
      def refuse(*arguments): raise SystemExit("completion asked the target")
      for name in [name for name in vars(Debugger) if not name.startswith("__")]: setattr(Debugger, name, refuse)
      end
      """ + "\necho ====\\n\n"
        + Self.completing([
          "iommu walk 0 -device 0", "iommu walk 0 -device 0000:00:0", "iommu walk 0 -domain ",
          "iommu record -device 0000:00:02",
        ]))
    let offered = try #require(output.components(separatedBy: "====\n").last)
    #expect(
      offered.replacing(/0xff[0-9a-f]{14}/, with: "$DOMAIN") == """
        <iommu walk 0 -device 0>
        iommu walk 0 -device 0000:00:01.0
        iommu walk 0 -device 0000:00:02.0
        <iommu walk 0 -device 0000:00:0>
        iommu walk 0 -device 0000:00:01.0
        iommu walk 0 -device 0000:00:02.0
        <iommu walk 0 -domain >
        iommu walk 0 -domain $DOMAIN
        iommu walk 0 -domain $DOMAIN
        <iommu record -device 0000:00:02>
        iommu record -device 0000:00:02.0

        """)
  }
}
