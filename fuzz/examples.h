/* One of each request, for seeds and for mutations that know what a script is.
 * Include fuzz_step.h first.
 *
 * SPDX-License-Identifier: MIT */
#ifndef EXAMPLES_H
#define EXAMPLES_H

/* $A is a player, $B another, $K the last buddy ticket, $R the last race's. */
static const struct {
    char kind[5];
    const char *text;
} examples[] = {
    {"@dir", "PROD=NASCAR-PS2-2004\nVERS=\"PS2\"\nSLUS=BASLUS-20824\n"},
    {"addr", "ADDR=192.168.1.20\nPORT=59750\n"},
    {"skey", "SKEY=$5075626c6963204b6579\n"},
    {"~png", "REF=1\nTIME=3\n"},
    {"sele", "ROOMS=1 USERS=1 RANKS=1 MESGS=1"},
    {"sele", "ROOMS=0 USERS=0 RANKS=0 MESGS=0"},
    {"sele", "RANKS=50\n"},
    {"auth", "NAME=$A\nTOS=1\nPASS=$3ec97dd5\nMASK=0\n"},
    {"auth", "NAME=Eve\nPASS=$3ec97dd5\nMASK=0\n"},
    {"acct", "NAME=Eve\nPASS=$P\nMAIL=eve@example.org\nBORN=19800101\nSPAM=YN\nPERSONAS=Eve\n"},
    {"edit", "NAME=$A\nPASS=$P\nMAIL=new@example.org\n"},
    {"cper", "PERS=Eve\nALTS=3\n"},
    {"dper", "PERS=$A\n"},
    {"dacc", "NAME=$A\n"},
    {"pers", "PERS=$A\n"},
    {"news", "NAME=0\n"},
    {"news", "NAME=1\n"},
    {"chal", "PERS=*\n"},
    {"chal", "PERS=$B\nHOST=1\n"},
    {"chal", "PERS=$B\nHOST=0\n"},
    {"user", "PERS=$B\n"},
    {"onln", "PERS=$B\n"},
    {"room", "NAME=Mine2\nDESC=\"a room\"\nPASS=word\nMAX=4\n"},
    {"move", "NAME=East\nIDENT=1\n"},
    {"move", "NAME=Mine\n"},
    {"move", "IDENT=0\n"},
    {"peek", "NAME=$B\n"},
    {"mesg", "TEXT=\"hello all\"\n"},
    {"mesg", "TEXT=\"psst\"\nPRIV=$B\n"},
    {"mesg", "TEXT=x_$A_$B\nPRIV=$B\nATTR=3\n"},
    {"mesg", "TEXT=ACPT\nPRIV=$B\nATTR=3\n"},
    {"mesg", "TEXT=DECL\nPRIV=$B\nATTR=3\n"},
    {"auxi", "TEXT=x_$A_$B\n"},
    {"rank", "AUTH=$R\nFINISPOS0=1\nFINISPOS1=2\nSTARTPOS0=2\nSTARTPOS1=1\nLAPSCOMP0=20\nLAPSCOMP1=20\nLAPSLED0=12\n"
             "LAPSLED1=8\nDISCTIME0=-1\nDISCTIME1=-1\nDISQTIME0=-1\nDISQTIME1=-1\nRACETIME=600\nSET_TRACKID=3\n"},
    {"snap", "INDEX=0\nCHAN=0\nSTART=0\nRANGE=10\nSEQN=1\n"},
    {"snap", "FIND=$B\nRANGE=3\n"},
    {"rept", "PERS=$B\n"},
    {"AUTH", "USER=$A/cso/NASCAR-PS2-2004\nLKEY=$K\n"},
    {"PSET", "SHOW=AWAY\nSTAT=\"gone\"\nPROD=\"NASCAR\"\n"},
    {"RGET", "LIST=B\nID=1\n"},
    {"RGET", "LIST=I\nPRES=Y\nPEND=Y\nID=1\n"},
    {"RADD", "LIST=B\nUSER=$B\nID=1\n"},
    {"RADD", "LIST=I\nUSER=$B\nID=1\n"},
    {"RDEL", "LIST=B\nUSER=$B\nID=1\n"},
    {"PADD", "USER=$B\n"},
    {"PDEL", "USER=$B\n"},
    {"PGET", "USER=$B\n"},
    {"SEND", "USER=$B\nBODY=\"for later\"\nTYPE=C\nSECS=259200\nID=2\n"},
    {"USCH", "USER=$B\nMAX=10\n"},
    {"PING", "REF=1\n"},
    {"DISC", ""},
    {"cwho", ""},
    {"csta", ""},
    {"cpwd", "NAME=$A\nPASS=newword\n"},
    {"crel", ""},
    {"crep", ""},
    {"crep", "ID=1\n"},
    {"crcl", "ID=1\n"},
    {"cnew", ""},
    {"cnew", "TEXT=\"Race tonight%0aat 8\"\n"},
    {"cban", "NAME=$A\nFOR=60\nREASON=\"be nice\"\n"},
    {"cban", "NAME=127.0.0.1/8\n"},
    {"cunb", "NAME=$A\n"},
    {"cmut", "NAME=$A\nREASON=loud\n"},
    {"cunm", "NAME=$A\n"},
    {"cbns", ""},
    {"crom", ""},
    {"ckik", "NAME=$A\nREASON=\"mind your words\"\n"},
    {"csay", "TEXT=\"we close at ten\"\n"},
    {"csay", "ROOM=East\nTEXT=hello\n"},
    {"cdel", "NAME=$A\n"},
    {"clog", "LEVEL=debug\n"},
    {"cdwn", "TEXT=later\n"},
    {"cdwn", "TEXT=\n"},
};

#define EXAMPLES (sizeof examples / sizeof examples[0])

/* The connection of the operator, who alone may send some of them. */
#define OPERATOR (nascar_connections(&small_limits) - 1)

static bool is_operators(uint32_t number)
{
    return find_command((const uint8_t *)examples[number].kind)->states == CONTROL;
}

static void write_example(struct outgoing *f, uint32_t number, uint32_t player)
{
    frame_begin(f, examples[number].kind, "");
    for (const char *p = examples[number].text; *p; p++) {
        char what = p[0] == '$' ? p[1] : 0;
        const char *value = what == 'A'   ? player_names[player % PLAYERS]
                            : what == 'B' ? player_names[(player + 1 + player / PLAYERS) % PLAYERS]
                            : what == 'P' ? "~" REDACTED
                            : what == 'K' ? core.lkey
                            : what == 'R' ? core.ticket
                                          : NULL;
        if (value)
            put_chars(f, value);
        else
            put_byte(f, (uint8_t)*p);
        p += value != NULL;
    }
    frame_end(f);
}

#endif
