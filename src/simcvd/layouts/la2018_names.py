"""The 100 scans of the left-atrium benchmark, each by the beginning of its name's SHA-256."""

TEXT = """
02633d 02e6cb 0953ae 0a4d8b 0a64eb 0c5b81 0fce7e 103ed8 1463f0 156be0 17b893 19ef5f 1a5bac
1c4797 1cf96d 1de7a9 1e2703 205c13 2b54fa 2dd24d 30327e 33be63 33d939 3b8cfb 3beebc 3c58e2
3de775 425ee4 43863b 47bfa7 4838d8 4a26b2 505aef 51449b 51b1d6 522264 540747 5573ee 55d06a
56074b 5c6703 5d2998 5fef15 62eafe 69267d 723749 734521 73be0c 766839 76b14e 771736 7756ac
7b509e 7b5ed0 7efe14 85c41a 884b75 88fe70 8ee269 94f672 95e5c8 980a15 98feb8 9d6cb4 9eb62f
a53b5e a86129 aa852f aaeaa7 ab4d4d acf808 b241c9 b2a2a0 b2f9f7 b54176 b69f79 b8183a bb15d2
bf7ead cab7d7 ced788 d04c7f d13ef1 d1eb08 d43708 d53569 d9edc7 db6d20 dd31fc dd957a ddcf02
df6efd e86485 f0351f f2db08 f34f0f f8c8e9 f96492 ff41d2 ffeb76
"""
DIGESTS = frozenset(TEXT.split())
