// swift-tools-version: 6.1
import PackageDescription

let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let package = Package(
  name: "IOMMULens",
  products: [
    .library(name: "_core", type: .dynamic, targets: ["IOMMULensPython"]),
    .library(name: "PageTables", targets: ["PageTables"]),
    .library(name: "Investigation", targets: ["Investigation", "IOMMUModel", "RISCVIOMMU", "XuanTie", "Reports"]),
    .executable(name: "iommulens", targets: ["iommulens"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/groue/GRDB.swift", from: "7.10.0"),
    .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.5.0"),
    .package(url: "https://github.com/hummingbird-project/swift-mustache", from: "2.1.1"),
    .package(url: "https://github.com/swiftlang/swift-subprocess", from: "1.0.2"),
  ],
  targets: [
    .systemLibrary(name: "CPrefetch"),
    .target(name: "PageTables", dependencies: ["CPrefetch"], swiftSettings: strict),
    .target(name: "CMappedFile"),
    .target(name: "CProcessMemory"),
    .target(name: "GuestMemory", dependencies: ["PageTables", "CMappedFile", "CProcessMemory"], swiftSettings: strict),
    .target(name: "IOMMUModel", dependencies: ["PageTables"], swiftSettings: strict),
    .target(
      name: "LinuxKernel", dependencies: ["CZlib", "IOMMUModel", "PageTables", "RISCVInterpreter"],
      swiftSettings: strict),
    .systemLibrary(name: "CZlib", providers: [.apt(["zlib1g-dev"])]),
    .target(name: "RISCVInterpreter", dependencies: ["PageTables"], swiftSettings: strict),
    .target(name: "XuanTie", dependencies: ["IOMMUModel"], swiftSettings: strict),
    .target(name: "RISCVIOMMU", dependencies: ["IOMMUModel"], swiftSettings: strict),
    .target(
      name: "Investigation",
      dependencies: [
        "IOMMUModel", "GuestMemory", "LinuxKernel", .product(name: "GRDB", package: "GRDB.swift"),
        .product(name: "GRDBSQLite", package: "GRDB.swift"),
      ],
      swiftSettings: strict),
    .target(
      name: "Evidence", dependencies: ["Investigation", "IOMMUModel", "LinuxKernel", "PageTables"],
      swiftSettings: strict),
    .target(
      name: "Reports",
      dependencies: [
        "Evidence", "Investigation", "LinuxKernel", .product(name: "Mustache", package: "swift-mustache"),
      ],
      swiftSettings: strict),
    .systemLibrary(name: "CPython", pkgConfig: "python3", providers: [.apt(["libpython3-dev", "pkg-config"])]),
    .target(
      name: "IOMMULensPython",
      dependencies: ["CPython", "RISCVIOMMU", "XuanTie", "Evidence", "Investigation", "LinuxKernel", "Reports"],
      exclude: ["exports.map"], swiftSettings: strict),
    .executableTarget(
      name: "iommulens",
      dependencies: [
        "RISCVIOMMU", "XuanTie", "Evidence", "Investigation", "Reports",
        .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),
    .target(name: "Children", path: "Tests/Support/Children", swiftSettings: strict),
    .target(name: "Randomness", path: "Tests/Support/Randomness", swiftSettings: strict),
    .testTarget(name: "PageTablesTests", dependencies: ["PageTables", "Randomness"], swiftSettings: strict),
    .testTarget(
      name: "GuestMemoryTests", dependencies: ["Children", "GuestMemory", "PageTables", "Randomness"],
      swiftSettings: strict),
    .testTarget(name: "IOMMUModelTests", dependencies: ["IOMMUModel"], swiftSettings: strict),
    .testTarget(
      name: "LinuxKernelTests",
      dependencies: ["CZlib", "LinuxKernel", "IOMMUModel", "PageTables", "Randomness"],
      swiftSettings: strict),
    .testTarget(
      name: "RISCVInterpreterTests",
      dependencies: ["RISCVInterpreter", "Randomness", .product(name: "Subprocess", package: "swift-subprocess")],
      exclude: ["Programs"], swiftSettings: strict),
    .testTarget(
      name: "XuanTieTests", dependencies: ["XuanTie", "GuestMemory", "Randomness"], swiftSettings: strict),
    .testTarget(
      name: "RISCVIOMMUTests", dependencies: ["RISCVIOMMU", "GuestMemory", "Randomness"], swiftSettings: strict),
    .target(
      name: "CXMMUv1", path: "lab/qemu/test", exclude: ["Makefile", "device", "walk-test.c"], publicHeadersPath: "."),
    .testTarget(
      name: "DifferentialTests",
      dependencies: ["Children", "CXMMUv1", "IOMMUModel", "PageTables", "Randomness", "XuanTie"], exclude: ["Guest"],
      swiftSettings: strict),
    .target(
      name: "Simulation", dependencies: ["Investigation", "XuanTie", "Randomness"], path: "Tests/Support/Simulation",
      swiftSettings: strict),
    .executableTarget(
      name: "store-writer", dependencies: ["Investigation"], path: "Tests/Support/StoreWriter", swiftSettings: strict),
    .testTarget(
      name: "InvestigationTests",
      dependencies: [
        "Investigation", "RISCVIOMMU", "XuanTie", "Simulation", "Randomness", "store-writer",
        .product(name: "GRDB", package: "GRDB.swift"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "EvidenceTests",
      dependencies: ["Evidence", "LinuxKernel", "Reports", "RISCVIOMMU", "XuanTie", "Simulation", "Randomness"],
      swiftSettings: strict),
    .testTarget(
      name: "ReportsTests", dependencies: ["Reports", "LinuxKernel", "Simulation", "Randomness", "XuanTie"],
      swiftSettings: strict),
    .testTarget(name: "CommandLineTests", dependencies: ["iommulens", "Simulation"], swiftSettings: strict),
    .testTarget(
      name: "GDBTests", dependencies: [.product(name: "Subprocess", package: "swift-subprocess")],
      swiftSettings: strict),
    .testTarget(
      name: "DurabilityTests",
      dependencies: [
        "Investigation", "XuanTie", "Reports", "Simulation", "Randomness", "iommulens", "store-writer",
        .product(name: "GRDB", package: "GRDB.swift"),
      ],
      exclude: ["Programs"], swiftSettings: strict),
    .testTarget(
      name: "DocumentationTests",
      dependencies: [
        "Evidence", "Investigation", "IOMMUModel", "PageTables",
        .product(name: "Subprocess", package: "swift-subprocess"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "LabTests", dependencies: [.product(name: "Subprocess", package: "swift-subprocess")],
      swiftSettings: strict),
  ]
)
