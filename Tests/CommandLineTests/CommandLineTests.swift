import Foundation
import Investigation
import PageTables
import Simulation
import Testing

/// The command line as a process of its own.
@Suite struct CommandLineTests {
  let workspace: Workspace
  /// The page of the first domain's root table, and an image of the guest's RAM.
  let root: GPA

  /// Recorded once: the files by name, and the root.
  private static let recorded = Result {
    let workspace = try Workspace()
    var files: [String: [UInt8]] = [:]
    var root = GPA(0)
    // The last connection to a file writes the log into it when it closes.
    do {
      let scenario = try Scenario(rootShift: 48, path: workspace.file("wrong.iommulens"))
      files["ram"] = scenario.driver.memory.image()
      root = scenario.driver.domains[0].root.address
    }
    do { _ = try Scenario(rootShift: 30, path: workspace.file("fixed.iommulens")) }
    for name in ["wrong.iommulens", "fixed.iommulens"] {
      files[name] = [UInt8](try Data(contentsOf: URL(fileURLWithPath: workspace.file(name))))
    }
    return (files, root)
  }

  init() throws {
    workspace = try Workspace()
    let (files, root) = try Self.recorded.get()
    self.root = root
    for (name, bytes) in files { _ = try workspace.write(name, bytes) }
  }

  private func run(_ arguments: String...) throws -> (output: String, errors: String, status: Int32) {
    try Program("iommulens", arguments, folder: workspace.path).finish()
  }

  /// Output alone: the command succeeds and says nothing else.
  private func output(_ arguments: String...) throws -> String {
    let end = try Program("iommulens", arguments, folder: workspace.path).finish()
    #expect(end.status == 0 && end.errors == "", "\(end.errors)")
    return end.output
  }

  @Test func show() throws {
    let text = try output("show", "wrong.iommulens")
    #expect(
      text.hasPrefix(
        """
        Investigation wrong.iommulens: 6 maps, 1 unmap, 1 note.
        map #1   0000:00:01.0 (rsid 8)   xt_iommu_map <- e1000_alloc_ring_dma
          iova   0xfffff000 (4294963200)   1 x 4 KiB   ->  0x106172000   READ|WRITE|CACHE   GFP_KERNEL|__GFP_ZERO (0xdc0)
        map #2
        """))
    #expect(text.split(separator: "\n").count == 15)
  }

  @Test func check() throws {
    let text = try output("check", "wrong.iommulens")
    #expect(
      text.hasPrefix(
        "0x10000000-0x10003fff  -> 0x120000000  map #5        overwritten by map #6: leads to 0x130000000; "))
    #expect(text.contains("\n0xffffc000-0xffffffff  4 pages         map #1 to #3  missing at level 2, "))
    let total = "\n12 of 13 pages disagree: 4 overwritten, 8 missing.\n"
    #expect(text.hasSuffix(total))
    let all = try output("check", "--all", "wrong.iommulens")
    #expect(
      all.hasSuffix(total) && all.contains("\n0xffffe000-0xffffefff  -> 0x106173000  map #2  missing at level 2, "))
    #expect(try output("check", "fixed.iommulens") == "All 13 pages agree: 12 mapped, 1 unmapped.\n")
  }

  @Test func diagnose() throws {
    #expect(
      try output("diagnose", "wrong.iommulens").hasPrefix(
        "1. the root is indexed with shift 48, PGDIR_SHIFT of the CPU's Sv57; this table is Sv39: 30   (6 of 6 calls)\n"
      ))
    #expect(
      try output("diagnose", "fixed.iommulens")
        == "No cause to name: all 6 recorded map calls left the tables as they should.\n")
  }

  @Test func timeline() throws {
    func told(_ text: String) -> [String] {
      text.split(separator: "\n").map { String($0.replacing(#/ +\d+ +\d+\.\d{6}  /#, with: "")) }
    }
    let lines = told(try output("timeline", "wrong.iommulens"))
    #expect(
      Array(lines.prefix(2)) == [
        "kernel  map #1  0000:00:01.0  0xfffff000  1 x 4 KiB  -> 0x106172000  READ|WRITE|CACHE  xt_iommu_map <- e1000_alloc_ring_dma",
        "kernel  map #1 is wrong at 0xfffff000: missing at level 2; 1 of 1 page",
      ])
    #expect(lines.contains("kernel  note  The card does not transmit: NETDEV WATCHDOG."))
    // An entry may have several lines.
    let tail = told(try output("timeline", "--last", "3", "wrong.iommulens"))
    #expect(3..<lines.count ~= tail.count && tail == Array(lines.suffix(tail.count)))
    #expect(told(try output("timeline", "--iova", "0xfffff008", "wrong.iommulens")) == Array(lines.prefix(2)))
    #expect(
      try output("timeline", "--iova", "0-0xfff", "fixed.iommulens") == "Nothing was recorded about these addresses.\n")
    #expect(try run("timeline", "--last", "0", "wrong.iommulens").errors.hasPrefix("Error: --last must be at least 1"))
    #expect(try run("timeline", "--iova", "2-1", "wrong.iommulens").errors.hasPrefix("Error: The range 2-1 ends"))
  }

  @Test func export() throws {
    for (file, golden) in [("wrong", "pgdir-shift"), ("fixed", "fixed")] {
      #expect(try output("export", "\(file).iommulens", "out.md") == "")
      let fixtures = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Fixtures/reports/\(golden).md")
      // When it happened differs, and from then on what was stored with it.
      #expect(
        try written("out.md").components(separatedBy: "\n## Timeline").first
          == String(contentsOf: fixtures, encoding: .utf8).components(separatedBy: "\n## Timeline").first)
    }
  }

  private func written(_ name: String) throws -> String {
    try String(contentsOfFile: workspace.file(name), encoding: .utf8)
  }

  @Test func exportOfEveryKind() throws {
    let starts: [(file: String, options: [String], start: String)] = [
      ("a.json", [], "{\n  \"format\": \"iommulens-report\",\n  \"version\": 1,"), ("a.csv", [], "event,kind,number,"),
      ("b.csv", ["--events", "verifications"], "call,kind,number,"), ("a.svg", [], "<svg "),
      ("b.svg", ["--picture", "walk"], "<svg "),
    ]
    for (file, options, start) in starts {
      let end = try Program("iommulens", ["export", "wrong.iommulens", file] + options, folder: workspace.path).finish()
      #expect(end.status == 0 && end.errors == "" && end.output == "", "\(end.errors)")
      #expect(try written(file).hasPrefix(start))
    }
    for (file, options, message) in [
      (
        "out.pdf", [],
        "out.pdf: a report is Markdown, JSON, CSV or SVG; name a file that ends in .md, .json, .csv or .svg."
      ),
      ("a.md", ["--events", "calls"], "a.md: `events` is for files that end in .csv."),
      ("no/out.md", [], "no/out.md cannot be written: No such file or directory."),
      ("c.csv", ["--events", "log"], "c.csv is not written: wrong.iommulens holds no log."),
    ] {
      let end = try Program("iommulens", ["export", "wrong.iommulens", file] + options, folder: workspace.path).finish()
      #expect(end.errors == "Error: \(message)\n" && end.status == 1)
    }
  }

  @Test func templates() throws {
    let template = try output("template")
    _ = try workspace.write("same.mustache", Array(template.utf8))
    _ = try output("export", "wrong.iommulens", "a.md")
    _ = try output("export", "wrong.iommulens", "b.md", "--template", "same.mustache")
    #expect(try written("a.md") == written("b.md") && template.contains("{{headline}}"))
    _ = try workspace.write("mine.mustache", Array("{{#summary}}\n{{headline}}\n{{/sumary}}\n".utf8))
    let broken = try run("export", "wrong.iommulens", "b.md", "--template", "mine.mustache")
    #expect(
      broken.errors
        == "Error: mine.mustache:3: this section ends with another name than it began, or was never begun.\n")
    #expect(try written("a.md") == written("b.md"))
  }

  @Test func readingLeavesNoTrace() throws {
    let before = try Data(contentsOf: URL(fileURLWithPath: workspace.file("wrong.iommulens")))
    for command in ["show", "check", "diagnose", "timeline"] { _ = try output(command, "wrong.iommulens") }
    #expect(try Data(contentsOf: URL(fileURLWithPath: workspace.file("wrong.iommulens"))) == before)
  }

  @Test func walk() throws {
    let expected = """
      walk 0xfffff000   Sv39 root \(root)
        level 2 [  3]  \(root + 24) = 0x0  not valid
        not mapped: the entry at level 2 is not valid

      """
    for source in [["--ram", "ram@0x80000000"], ["--investigation", "wrong.iommulens"]] {
      for iova in ["0xfffff000", "4294963200", "0XFFFFF000"] {
        let end = try Program("iommulens", ["walk", iova, "--root", "\(root)"] + source, folder: workspace.path)
          .finish()
        #expect(end.output == expected && end.errors == "" && end.status == 0)
      }
    }
    #expect(
      try output("walk", "0x3ffff000", "--root", "\(root)", "--mode", "SV39", "--ram", "ram@2147483648")
        .hasSuffix("\n  maps to 0x106172000 (4 KiB leaf, V R W)\n"))
    let ramEnd = hex(0x8000_0000 + UInt64(try Self.recorded.get().0["ram"]?.count ?? 0) - 1)
    #expect(
      try output("walk", "0", "--root", "0x1000", "--ram", "ram@0x80000000")
        .hasSuffix("Cannot read guest-physical address 0x1000: outside ram, which holds 0x80000000-\(ramEnd).\n"))
  }

  @Test func dump() throws {
    let expected = """
      0x3fffc000-0x3fffdfff -> 0x106180000  8 KiB  V R W
      0x3fffe000-0x3fffefff -> 0x106173000  4 KiB  V R W
      0x3ffff000-0x3fffffff -> 0x106172000  4 KiB  V R W

      """
    let source = ["--root", "\(root)", "--ram", "ram@0x80000000"]
    func dump(_ arguments: String...) throws -> (output: String, errors: String, status: Int32) {
      try Program("iommulens", ["dump"] + source + arguments, folder: workspace.path).finish()
    }
    #expect(try dump().output == expected)
    #expect(try dump("--flags", "rw").output == expected)
    #expect(try dump("--flags", "x").output == "Nothing is mapped.\n")
    #expect(
      try dump("--iova", "0x3ffff000-0x3ffff000").output == "0x3ffff000-0x3ffff000 -> 0x106172000  1 bytes  V R W\n")
    #expect(try dump("--raw").output.split(separator: "\n").count == 6)
    for (arguments, message) in [
      (["--iova", "2-1"], "The range 2-1 ends before it starts."),
      (["--iova", "5-"], "'' is not an address: write 4294963200 or 0xfffff000."),
      (["--iova=-"], "'' is not an address: write 4294963200 or 0xfffff000."),
      (["--iova=-5"], "'' is not an address: write 4294963200 or 0xfffff000."),
      (["--flags", "rq"], "'rq' has a letter that is no PTE flag; use those of VRWXUGAD."),
    ] {
      let end = try Program("iommulens", ["dump"] + source + arguments, folder: workspace.path).finish()
      #expect(end.errors.hasPrefix("Error: \(message)\n") && end.status == 64 && end.output == "", "\(end.errors)")
    }
  }

  /// What is said of a mistake is in Tests/Fixtures/bad-inputs; it is no success, and it leaves nothing behind.
  @Test func aMistakeHasAStatusAndLeavesNoFile() throws {
    let mistakes: [([String], Int32)] = [
      (["walk", "0xzz", "--root", "0", "--ram", "ram@0x80000000"], 64), (["show"], 64), (["unknown"], 64),
      (["show", "none.iommulens"], 1), (["walk", "0", "--root", "0", "--investigation", "none.iommulens"], 1),
      (["export", "ram", "a.md"], 1), (["walk", "0", "--root", "0", "--ram", "none@0"], 1),
      (["walk", "0", "--root", "0", "--core", "ram"], 1),
    ]
    for (arguments, status) in mistakes {
      let end = try Program("iommulens", arguments, folder: workspace.path).finish()
      #expect(
        end.errors.hasPrefix("Error: ") && end.status == status && end.output == "", "\(end.errors) \(end.status)")
    }
    for name in ["none.iommulens", "a.md"] { #expect(!FileManager.default.fileExists(atPath: workspace.file(name))) }
    // An empty file becomes an investigation, which knows nothing yet.
    _ = try workspace.write("empty.iommulens", [])
    #expect(try output("show", "empty.iommulens") == "Investigation empty.iommulens: new.\n")
  }

  /// SQLite would take it for an address with options, and keep the investigation in memory.
  @Test func aFileMayHaveAnyName() throws {
    _ = try workspace.write("notes.txt", Array("xmmuv1_translate addr 4096\n".utf8))
    _ = try output("import", "notes.txt", "-o", "file:x?mode=memory")
    #expect(
      try output("show", "file:x?mode=memory")
        == "Investigation file:x?mode=memory: 0 maps, 0 unmaps, 1 translation, 0 notes.\n")
  }

  @Test func importsTexts() throws {
    _ = try workspace.write("notes.txt", Array("xmmuv1_translate addr 4096\nxmmuv1_translate addr 4100\n".utf8))
    _ = try workspace.write("more.txt", Array("(gdb) p/x $satp\n$1 = 0xa000100000080bc0\nCONFIG_VFIO\n".utf8))
    #expect(
      try output("import", "notes.txt", "more.txt", "-o", "new.iommulens") == """
        notes.txt: 2 lines
          translations  1-2  2 from 0x1000 in steps of 4
        more.txt: 3 lines
          satp  1-2  0xa000100000080bc0
          not read:
            3  It names an option, but no value for it.
        Added to new.iommulens: 1 fact, 1 translation.
        Not known yet:
          a map call: a backtrace at the entry of the driver's map function
          the device's registers: `iommu regs`, or `monitor xp /1gx` of each
          the tables' pages: `iommu check` with the guest, or its memory (`dump-guest-memory`)

        """)
    #expect(try output("import", "notes.txt").hasPrefix("notes.txt: 2 lines\n"))
    #expect(FileManager.default.fileExists(atPath: workspace.file("investigation.iommulens")))
    let missing = try run("import", "none.txt", "-o", "other.iommulens")
    #expect(missing.status == 1 && missing.errors == "Error: none.txt does not exist.\n")
    #expect(!FileManager.default.fileExists(atPath: workspace.file("other.iommulens")))
  }

  @Test func helpAndVersion() throws {
    #expect(try output("--version") == "0.1.0\n")
    let help = try output("--help")
    for command in ["import", "show", "check", "diagnose", "export", "template", "walk", "dump"] {
      #expect(help.contains("\n  \(command) "))
    }
  }
}
