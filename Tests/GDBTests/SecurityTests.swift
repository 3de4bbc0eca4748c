import Foundation
import Testing

/// What the plugin must never do to a target, to the user's files, or for a stranger.
@Suite(.timeLimit(.minutes(3))) struct SecurityTests {
  /// Every command that answers something, on a guest behind its workload.
  private static let questions = """
    iommu status
    iommu regs
    iommu devices
    iommu probe
    iommu walk 0xfffff000 -device 00:01.0 -device-walk
    iommu dump -device 00:01.0
    iommu predict 0x40000000 0x80000000 0x2000 3 -device 00:01.0
    p $iommu_walk(0xfffff000)
    iommu check
    iommu diagnose
    iommu timeline
    iommu note looked
    iommu export $DIR/x.md
    """

  /// The packets that GDB sends for `commands`, connected anew to a guest behind its workload.
  private func packets(_ commands: String, to guest: Guest, memory: String = "auto") async throws -> [String] {
    let output = try await guest.debug(
      """
      set iommu memory \(memory)
      \(KernelSessionTests.recordAll)
      disconnect
      set remotelogfile $DIR/remote.log
      target remote $DIR/gdb.sock
      python connected = __import__("os").path.getsize("$DIR/remote.log")
      \(commands)
      echo ====\\n
      python print(open("$DIR/remote.log", errors="replace").read()[connected:])
      """)
    let log = try #require(output.components(separatedBy: "====\n").last).split(separator: "\n")
    return log.compactMap { $0.firstMatch(of: #/^w [^$]*\$([^#]*)#/#).map { String($0.output.1) } }
  }

  static let guests = [
    (Guest(), "auto"), (Guest(), "remote"), (Guest(driver: "riscv-6.13", riscv: ["--step", "stale"]), "auto"),
  ]

  /// Those that have no answer here, and say so.
  private static let moreQuestions = ["iommu args", "iommu domains"]

  /// Told by the packets that GDB sends: nothing is written, set or resumed, and the monitor is only asked. A device that could
  /// be asked is no exception, as long as nobody says that this is meant.
  @Test(arguments: guests) func questionsOnlyReadTheTarget(guest: Guest, memory: String) async throws {
    let ask = Guest.attempts(
      Self.moreQuestions + [
        "iommu ask 0xfffff000 -device 00:01.0", "iommu ask 0xfffff000 -device 00:01.0 -write -json",
      ])
    let packets = try await packets(Self.questions + "\n" + ask, to: guest, memory: memory)
    var monitor = Set<String>()
    for packet in packets {
      if let command = text(ofMonitorCommand: packet) {
        monitor.insert(String(command.prefix { $0 != " " }))
        let isQuestion = command.contains(#/^(info (version|mtree -f)$|xp |gpa2hva |gva2gpa )/#)
        #expect(isQuestion, "\(command)")
      } else {
        let isQuestion = packet.contains(#/^([mpHT]|g$|q[fs]?Thread|qXfer|[qQ]qemu\.PhyMemMode)/#)
        #expect(isQuestion, "\(packet)")
      }
    }
    // The guest is left in the mode in which GDB reads.
    #expect(packets.last { $0.hasPrefix("Qqemu.PhyMemMode") } == "Qqemu.PhyMemMode:0")
    #expect(packets.count > 20 && monitor.isSuperset(of: ["info", "xp"]))
  }

  /// The one command that writes to the target writes two registers of the device, and nothing else.
  @Test func onlyAskingTheDeviceWritesAndOnlyItsRegisters() async throws {
    let guest = Guest(driver: "riscv-6.13", riscv: ["--step", "stale"])
    let packets = try await packets("iommu ask 0xffffe018 -device 00:01.0 -intrusive", to: guest)
    // QEMU's stub takes text; GDB asks for its binary form first.
    let writes = packets.filter { $0.contains(#/^[GMPXZcszvC]/#) && !$0.hasPrefix("X3010258,0:") }
    #expect(
      writes == ["M3010258,8:18e0ffff00000000", "M3010260,8:0900000000080000"], "\(packets)")
    #expect(packets.last { $0.hasPrefix("Qqemu.PhyMemMode") } == "Qqemu.PhyMemMode:0")
  }

  /// Every command is among the questions, or is one that is known to do more: to set breakpoints, or to write files.
  @Test func noCommandIsLeftOut() async throws {
    let others = ["ask", "break", "import", "open", "record"]
    let output = try await Guest.alone(
      """
      python
      from iommulens.gdb import ask, commands
      def kinds(kind): return [kind] + [each for below in kind.__subclasses__() for each in kinds(below)]
      names = {kind.name.split()[1] for kind in kinds(commands.Command) if hasattr(kind, "name")}
      print(" ".join(sorted(names)))
      end
      """)
    let asked = (Self.questions.split(separator: "\n") + Self.moreQuestions.map { $0[...] })
      .compactMap { $0.split(separator: " ").dropFirst().first }
    let names = output.split(whereSeparator: \.isWhitespace)
    #expect(
      names.count > 15 && Set(names) == Set(asked.filter { !$0.hasPrefix("$") }).union(others.map { Substring($0) }))
  }

  /// `qRcmd,` and the command in hexadecimal digits.
  private func text(ofMonitorCommand packet: String) -> String? {
    guard packet.hasPrefix("qRcmd,") else { return nil }
    let digits = Array(packet.dropFirst(6))
    let bytes = stride(from: 0, to: digits.count - 1, by: 2).compactMap {
      UInt8(String(digits[$0...$0 + 1]), radix: 16)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// GDB's own connection is the only socket of a whole session, whenever something is printed.
  @Test func opensNoSocket() async throws {
    let output = try await Guest().debug(
      """
      python
      import os
      def sockets():
        names = ["/proc/self/fd/" + name for name in os.listdir("/proc/self/fd")]
        return sorted(os.readlink(name) for name in names if os.path.exists(name) or os.path.islink(name))
      def count(): return len([name for name in sockets() if name.startswith("socket:")])
      seen = {count()}
      real = gdb.write
      def write(*arguments):
        seen.add(count())
        return real(*arguments)
      gdb.write = write
      end
      iommu open $DIR/x.iommulens
      \(KernelSessionTests.recordAll)
      \(Self.questions)
      iommu dump -device 00:01.0 -o $DIR/dump.txt
      python gdb.write = real
      echo ====\\n
      python print(seen)
      """)
    #expect(output.hasSuffix("====\n{1}\n"))
  }

  /// A text from a stranger is text: in the file, on the terminal, in a report.
  @Test func nothingInAnImportedTextRunsOrReads() async throws {
    let output = try await Guest.alone(
      #"""
      shell printf secret-of-mine > $DIR/secret
      python
      lines = [
        "source $DIR/run.gdb", "!touch $DIR/ran", "shell touch $DIR/ran", "python open('$DIR/ran', 'w')", "`touch $DIR/ran`",
        "$(touch $DIR/ran)", "@$DIR/secret", "include $DIR/secret", "{{> $DIR/secret}}", "{{{secret}}}", "<!--#include file=$DIR/secret-->",
        "%s%n%x", "{0.__class__}", "x'); DROP TABLE note; ATTACH '$DIR/ran' AS a; --", "\x1b]0;title\x07\x1b[2J\x1b[31m", "=cmd|'/bin/touch $DIR/ran'!A1",
        "![x](file://$DIR/secret)", "<script src=file://$DIR/secret></script>", "#define x $DIR/secret",
      ]
      with open("$DIR/evil.txt", "w") as text:
        for line in lines:
          text.write("[    1.000000] e1000e 0000:00:01.0 eth0: NETDEV WATCHDOG: %s (e1000e): transmit queue 0 timed out\n" % line)
          text.write("#0  xt_iommu_map (domain=0xff60000000440220, iova=4294963200, paddr=4397146112) at %s:61\n" % line)
          text.write("#1  %s () at x.c:1\n%s\n" % (line, line))
      with open("$DIR/run.gdb", "w") as script: script.write("shell touch $DIR/ran\n")
      end
      iommu open $DIR/x.iommulens
      iommu import $DIR/evil.txt
      python
      for line in lines: gdb.execute("iommu note " + line.replace("\x1b", "\\x1b"))
      end
      iommu timeline
      iommu check
      iommu diagnose
      iommu export $DIR/x.md
      iommu export $DIR/x.json
      iommu export $DIR/x.csv -events log
      echo ====\n
      python
      import glob
      for name in sorted(glob.glob("$DIR/*")):
        content = open(name, "rb").read()
        known = name.endswith(("secret", "evil.txt", "script.gdb"))
        print(os.path.basename(name), known or (b"secret-of-mine" not in content and (b"\x1b" not in content or "iommulens" in name)))
      end
      """#)
    let parts = output.components(separatedBy: "====\n")
    #expect(!parts[0].contains("secret-of-mine") && !parts[0].contains("\u{1b}") && parts[0].contains("touch $DIR/ran"))
    #expect(
      parts[1] == """
        evil.txt True
        run.gdb True
        script.gdb True
        secret True
        x.csv True
        x.iommulens True
        x.iommulens-shm True
        x.iommulens-wal True
        x.json True
        x.md True

        """)
  }

  /// Everything that is written has the rights that the user's umask leaves, and goes where its name says.
  @Test func filesAreTheUsersOwnAndNoLinkLeadsElsewhere() async throws {
    let output = try await Guest.alone(
      #"""
      python
      import os, stat
      def rights(*names):
        for name in names: print(name, oct(stat.S_IMODE(os.stat("$DIR/" + name).st_mode)))
      def attempt(command):
        print("(gdb) " + command)
        try: gdb.execute(command)
        except gdb.error as error: print(error)
      os.umask(0o077)
      gdb.execute("iommu open $DIR/x.iommulens")
      gdb.execute("iommu import Tests/Fixtures/field-notes.txt", to_string=True)
      gdb.execute("iommu export $DIR/x.md")
      rights("x.iommulens", "x.iommulens-wal", "x.iommulens-shm", "x.md")
      os.umask(0o022)
      # A folder as /tmp is, and what somebody may have left in it.
      os.mkdir("$DIR/shared"); os.chmod("$DIR/shared", 0o1777)
      open("$DIR/precious", "w").write("precious")
      for name in "link.iommulens", "new.iommulens", "link.md", "a.iommulens-wal", "a.iommulens-shm", "b.iommulens-journal":
        os.symlink("$DIR/" + ("missing" if name.startswith("new") else "precious"), "$DIR/shared/" + name)
      os.mkfifo("$DIR/shared/pipe"); os.symlink("$DIR/shared/pipe", "$DIR/shared/pipe.md")
      attempt("iommu open $DIR/shared/link.iommulens")
      attempt("iommu open $DIR/shared/new.iommulens")
      attempt("iommu export $DIR/shared/link.md")
      attempt("iommu export $DIR/shared/pipe.md")
      attempt("iommu open $DIR/shared/a.iommulens")
      attempt("iommu open $DIR/shared/b.iommulens")
      attempt("iommu note where am I?")
      print(open("$DIR/precious").read(), os.path.exists("$DIR/missing"), os.path.islink("$DIR/shared/link.md"))
      # In a folder of one's own a link is one's own.
      os.symlink("x.iommulens", "$DIR/own.iommulens")
      attempt("iommu open $DIR/own.iommulens")
      end
      """#)
    try expectKnown(output, "files.txt")
  }

  /// A QEMU that is told by its number and is another one: its memory is not taken for this guest's.
  @Test(arguments: ["file", "anonymous"]) func anotherQEMUIsNotReadInsteadOfThisOne(ram: String) async throws {
    let output = try await Guest(ram: ram).debug(
      TargetFaultTests.tools + """
        python boot("two", "--root-shift", "30", "--ram", "\(ram)")
        hbreak lab_workload_done
        continue
        python gdb.execute("set iommu qemu-pid %d" % qemu("$DIR/two"))
        iommu status
        iommu walk 0x3ffff000 -device 00:01.0
        python gdb.execute("set iommu qemu-pid %d" % os.getpid())
        iommu status
        set iommu qemu-pid 0
        iommu status
        """)
    let told = output.split(separator: "\n").filter { $0.hasPrefix("memory") }
    try #require(told.count == 3)
    for refused in told[..<2] {
      #expect(refused.hasPrefix("memory  remote protocol, page by page: Cannot read the memory of process $PID at 0x"))
    }
    #expect(told[2].contains("Compared with the debugger's view: 256 bytes at 4 places."))
    // This guest's table, with the wrong shift, and not the other one's.
    #expect(output.contains("maps to 0x86889000 (4 KiB leaf, V R W)"))
  }
}
